/* Pooling for GPU devices: one output a work-item, neighbours along the channels. Arguments as in pool.cl, with the
   number of outputs in place of the last two. Global size: (all outputs, rounded up to whole groups). Compile with AVERAGE, COUNT_PADDING. */

__kernel void pool_gpu(__global const float *restrict x, __global float *restrict y,
                       int x_offset, int x_n, int x_y, int x_x, int height, int width,
                       int y_offset, int y_n, int y_y, int y_x, int rows, int columns, int channels,
                       int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
                       int pad_top, int pad_left, int pad_bottom, int pad_right, int outputs) {
  const int id = get_global_id(0);
  if (id >= outputs)
    return;
  const int c = id % channels, column = id / channels % columns;
  const int row = id / channels / columns % rows, n = id / channels / columns / rows;
  float kept = AVERAGE ? 0.0f : -INFINITY;
  int counted = 0;
  for (int ky = 0; ky < kh; ky++)
    for (int kx = 0; kx < kw; kx++) {
      const int in_y = row * step_y + origin_y + ky * dilation_y, in_x = column * step_x + origin_x + kx * dilation_x;
      const bool inside = (uint)in_y < (uint)height && (uint)in_x < (uint)width;
      if (inside) {
        const float v = x[x_offset + n * x_n + in_y * x_y + in_x * x_x + c];
        kept = AVERAGE ? kept + v : fmax(kept, v);
      }
      counted += COUNT_PADDING ? in_y >= -pad_top && in_y < height + pad_bottom
                               && in_x >= -pad_left && in_x < width + pad_right : inside;
    }
  y[y_offset + n * y_n + row * y_y + column * y_x + c] = AVERAGE ? kept / counted : kept;
}
