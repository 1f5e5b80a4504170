/* Depthwise convolution from image to image: a work-item computes 4 neighbouring pixels of 4 channels.

   w  [block][tap][4], b [block][4], of the blocks computed. Other arguments as in image_conv.cl.
   Global size: (ceil(columns / 4), blocks, images * rows). Compile with ACTIVATION. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "image.cl"

__kernel void image_depthwise(__read_only image2d_t x, __global const float4 *restrict w,
                              __global const float4 *restrict b, __write_only image2d_t y,
                              int x_x, int x_y, int x_columns, int x_rows, int height, int width,
                              int y_x, int y_y, int y_columns, int y_rows,
                              int n0, int block0, int row0, int column0, int rows, int columns, int channels,
                              int kh, int kw, int step_y, int step_x, int pad_top, int pad_left, int dilation_y,
                              int dilation_x, float p, float q) {
  const int first = get_global_id(0) * 4, part = get_global_id(1), block = block0 + part;
  const int row = row0 + get_global_id(2) % rows, n = n0 + get_global_id(2) / rows;
  const int in_y = row * step_y - pad_top, in_x = (column0 + first) * step_x - pad_left;
  float4 sum[4];
  sum[0] = sum[1] = sum[2] = sum[3] = b[part];

  for (int ky = 0; ky < kh; ky++) {
    const int at_y = in_y + ky * dilation_y;
    if ((uint)at_y >= (uint)height)
      continue;
    for (int kx = 0; kx < kw; kx++) {
      const float4 weight = w[(part * kh + ky) * kw + kx];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at_x = in_x + i * step_x + kx * dilation_x;
        if (first + i < columns && (uint)at_x < (uint)width)
          sum[i] = sum[i] + weight * read_imagef(x, EXACT, TEXEL(x, n, block, at_y, at_x));
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (first + i < columns)
      write_imagef(y, TEXEL(y, n, block, row, column0 + first + i), within(ACTIVATE(sum[i], p, q), 4 * block, channels));
}
