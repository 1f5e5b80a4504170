/* Where the vector of `width` elements that covers element i of n begins: the last one overlaps the one before it. No
   min(): PoCL does not inline it, and a call for every vector costs as much as several vectors. */
#define OVERLAPPING(i, width, n) ((i) + (width) <= (n) ? (i) : (n) - (width))
