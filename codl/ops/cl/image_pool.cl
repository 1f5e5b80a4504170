/* Pooling from image to image: one pixel of 4 channels a work-item. Padding takes no part; an average is divided by the
   number of taps inside the map or, with COUNT_PADDING, inside the padded map. Other arguments as in image_conv.cl.
   Global size: (columns, blocks, images * rows). Compile with AVERAGE (0: maximum, 1: average), COUNT_PADDING. */

#include "image.cl"

__kernel void image_pool(__read_only image2d_t x, __write_only image2d_t y,
                         int x_x, int x_y, int x_columns, int x_rows, int height, int width,
                         int y_x, int y_y, int y_columns, int y_rows,
                         int n0, int block0, int row0, int column0, int rows, int channels,
                         int kh, int kw, int step_y, int step_x, int pad_top, int pad_left, int pad_bottom,
                         int pad_right, int dilation_y, int dilation_x) {
  const int column = column0 + get_global_id(0), block = block0 + get_global_id(1);
  const int row = row0 + get_global_id(2) % rows, n = n0 + get_global_id(2) / rows;
  float4 kept = AVERAGE ? (float4)(0.0f) : (float4)(-INFINITY);
  int counted = 0;
  for (int ky = 0; ky < kh; ky++)
    for (int kx = 0; kx < kw; kx++) {
      const int at_y = row * step_y - pad_top + ky * dilation_y, at_x = column * step_x - pad_left + kx * dilation_x;
      const bool inside = (uint)at_y < (uint)height && (uint)at_x < (uint)width;
      if (inside) {
        const float4 v = read_imagef(x, EXACT, TEXEL(x, n, block, at_y, at_x));
        kept = AVERAGE ? kept + v : fmax(kept, v);
      }
      counted += COUNT_PADDING ? at_y < height + pad_bottom && at_x < width + pad_right : inside;
    }
  write_imagef(y, TEXEL(y, n, block, row, column), within(AVERAGE ? kept / (float)counted : kept, 4 * block, channels));
}
