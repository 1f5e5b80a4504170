/* Feature maps in images (docs/data-types.md): texel (x + block * columns + column, y + n * rows + row) holds channels
   4 * block to 4 * block + 3 of a pixel. Coordinates are those of the whole tensor; x and y, which may be negative, say
   where in the image its texel (0, 0, 0, 0) would lie. Channels beyond the tensor's last are zero. */

__constant sampler_t EXACT = CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_NONE | CLK_FILTER_NEAREST;

#define TEXEL(map, n, block, row, column) \
  (int2)(map##_x + (block) * map##_columns + (column), map##_y + (n) * map##_rows + (row))

/* The same with zeros for channels `channels` and later; `channel` is that of v.x. */
static inline float4 within(float4 v, int channel, int channels) {
  const int left = channels - channel;
  return left >= 4 ? v : (float4)(left > 0 ? v.x : 0.0f, left > 1 ? v.y : 0.0f, left > 2 ? v.z : 0.0f, 0.0f);
}
