/* A box of a tensor from a buffer to an image and back: one texel a work-item.

   x  buffer: element (n, c, row, column) is at offset + n * s_n + c * s_c + row * s_row + column * s_column
   y  image (image.cl)
   The box begins at (n0, c0, row0, column0); it ends before channel c1 and has rows x columns pixels. Texels that hold
   channels outside of it are written with zeros there: c0 is a multiple of 4, and c1 is too or is the tensor's end.
   Global size: (blocks, columns, images * rows). Compile with UNIT (1: s_c is 1). */

#include "image.cl"

#define FIRST \
  const int block = c0 / 4 + get_global_id(0), c = 4 * block, column = column0 + get_global_id(1); \
  const int row = row0 + get_global_id(2) % rows, n = n0 + get_global_id(2) / rows; \
  const long at = offset + (long)n * s_n + (long)c * s_c + (long)row * s_row + (long)column * s_column;

__kernel void to_image(__global const float *restrict x, __write_only image2d_t y,
                       int offset, int s_n, int s_c, int s_row, int s_column,
                       int y_x, int y_y, int y_columns, int y_rows,
                       int n0, int c0, int row0, int column0, int c1, int rows) {
  FIRST
  float4 v = (float4)(0.0f);
  if (UNIT && c + 4 <= c1)
    v = vload4(0, x + at);
  else {
    v.x = x[at];
    if (c + 1 < c1) v.y = x[at + s_c];
    if (c + 2 < c1) v.z = x[at + 2 * s_c];
    if (c + 3 < c1) v.w = x[at + 3 * s_c];
  }
  write_imagef(y, TEXEL(y, n, block, row, column), v);
}

__kernel void to_buffer(__global float *restrict x, __read_only image2d_t y,
                        int offset, int s_n, int s_c, int s_row, int s_column,
                        int y_x, int y_y, int y_columns, int y_rows,
                        int n0, int c0, int row0, int column0, int c1, int rows) {
  FIRST
  const float4 v = read_imagef(y, EXACT, TEXEL(y, n, block, row, column));
  if (UNIT && c >= c0 && c + 4 <= c1)
    vstore4(v, 0, x + at);
  else {
    if (c >= c0 && c < c1) x[at] = v.x;
    if (c + 1 >= c0 && c + 1 < c1) x[at + s_c] = v.y;
    if (c + 2 >= c0 && c + 2 < c1) x[at + 2 * s_c] = v.z;
    if (c + 3 >= c0 && c + 3 < c1) x[at + 3 * s_c] = v.w;
  }
}
