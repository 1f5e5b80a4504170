/* Depthwise convolution for GPU devices: one output a work-item, neighbours along the channels. Arguments as in
   depthwise.cl without `at_once`. Global size: (channels, columns, rows * images). Compile with ACTIVATION. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"

__kernel void depthwise_gpu(__global const float *restrict x, __global const float *restrict w,
                            __global const float *restrict b, __global float *restrict y,
                            int x_offset, int x_n, int x_y, int x_x, int height, int width,
                            int y_offset, int y_n, int y_y, int y_x, int rows, int columns, int channels,
                            int kh, int kw, int step_y, int step_x, int origin_y, int origin_x,
                            int dilation_y, int dilation_x, float p, float q) {
  const int c = get_global_id(0), column = get_global_id(1), row = get_global_id(2) % rows, n = get_global_id(2) / rows;
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
