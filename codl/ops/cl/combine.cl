/* COMBINE(x, y) by BINARY: 0 none, 1 x + y, 2 x - y, 3 x * y, 4 x / y, 5 x < 0 ? x * y : x, 6 x to the power y, 7 the
   larger, 8 the smaller (NaN where one is NaN). Any float vector width; x and y may be evaluated more than once.
   WITH_B(...) is its argument where there is a second operand, else nothing. */

#if BINARY == 1
#define COMBINE(x, y) ((x) + (y))
#elif BINARY == 2
#define COMBINE(x, y) ((x) - (y))
#elif BINARY == 3
#define COMBINE(x, y) ((x) * (y))
#elif BINARY == 4
#define COMBINE(x, y) ((x) / (y))
#elif BINARY == 5
#define COMBINE(x, y) ((x) < 0.0f ? (x) * (y) : (x))
#elif BINARY == 6
#define COMBINE(x, y) pow(x, y)
#elif BINARY == 7
#define COMBINE(x, y) ((((x) > (y)) | ((x) != (x))) ? (x) : (y))
#elif BINARY == 8
#define COMBINE(x, y) ((((x) < (y)) | ((x) != (x))) ? (x) : (y))
#endif

#if BINARY
#define WITH_B(...) __VA_ARGS__
#else
#define WITH_B(...)
#endif
