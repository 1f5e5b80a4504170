/* Depthwise convolution for GPU devices: one output a work-item, neighbours along the channels. Arguments as in
   depthwise.cl with the number of outputs in place of `at_once`. Global size: (all outputs, rounded up to whole groups). Compile with ACTIVATION. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"

__kernel void depthwise_gpu(__global const float *restrict x, __global const float *restrict w,
                            __global const float *restrict b, __global float *restrict y,
                            int x_offset, int x_n, int x_y, int x_x, int height, int width,
                            int y_offset, int y_n, int y_y, int y_x, int rows, int columns, int channels,
                            int kh, int kw, int step_y, int step_x, int origin_y, int origin_x,
                            int dilation_y, int dilation_x, int outputs, float p, float q) {
  const int id = get_global_id(0);
  if (id >= outputs)
    return;
  const int c = id % channels, column = id / channels % columns;
  const int row = id / channels / columns % rows, n = id / channels / columns / rows;
  float sum = b[c];
  for (int ky = 0; ky < kh; ky++) {
    const int in_y = row * step_y + origin_y + ky * dilation_y;
    if ((uint)in_y >= (uint)height)
      continue;
    for (int kx = 0; kx < kw; kx++) {
      const int in_x = column * step_x + origin_x + kx * dilation_x;
      if ((uint)in_x < (uint)width)
        sum = sum + x[x_offset + n * x_n + in_y * x_y + in_x * x_x + c] * w[(ky * kw + kx) * channels + c];
    }
  }
  y[y_offset + n * y_n + row * y_y + column * y_x + c] = ACTIVATE(sum, p, q);
}
