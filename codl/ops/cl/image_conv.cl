/* Convolution from image to image: a work-item computes 4 neighbouring pixels x BLOCKS blocks of 4 output channels.

   x, y  images (image.cl); height and width are those of the whole input, beyond which lies padding
   w     [out block][tap][in block][4 in][4 out], of the blocks computed (their number rounded up to BLOCKS) and of one
         group's input channels; b [out block][4]
   Output (row, column), tap (ky, kx) reads the input (row * step_y - pad_top + ky * dilation_y, likewise). The box
   computed begins at (n0, block0, row0, column0), in blocks of the whole output, and ends before channel `channels`.
   group_blocks: output blocks of a group; in_blocks: input blocks of a group.
   Global size: (ceil(columns / 4), ceil(blocks / BLOCKS), images * rows). Compile with BLOCKS (1, 2, 4),
   ACTIVATION, RESIDUAL (1: added before the activation, 2: after it; 0: none): r, a map like y.
   With BLOCKS 2 or 4 there is one group. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "image.cl"

#if RESIDUAL
#define WITH_R(...) __VA_ARGS__
#else
#define WITH_R(...)
#endif

__kernel void image_conv(__read_only image2d_t x, __global const float4 *restrict w, __global const float4 *restrict b,
                         __write_only image2d_t y,
                         int x_x, int x_y, int x_columns, int x_rows, int height, int width,
                         int y_x, int y_y, int y_columns, int y_rows,
                         int n0, int block0, int row0, int column0, int rows, int columns, int channels,
                         int kh, int kw, int step_y, int step_x, int pad_top, int pad_left, int dilation_y,
                         int dilation_x, int in_blocks, int group_blocks, float p, float q
                         WITH_R(, __read_only image2d_t r, int r_x, int r_y, int r_columns, int r_rows)) {
  const int first = get_global_id(0) * 4, part = get_global_id(1) * BLOCKS;
  const int row = row0 + get_global_id(2) % rows, n = n0 + get_global_id(2) / rows;
  const int from = (block0 + part) / group_blocks * in_blocks; /* the group's first input block */
  const int in_y = row * step_y - pad_top, in_x = (column0 + first) * step_x - pad_left;
  float4 sum[BLOCKS][4];
#pragma unroll
  for (int o = 0; o < BLOCKS; o++)
    sum[o][0] = sum[o][1] = sum[o][2] = sum[o][3] = b[part + o];

  for (int ky = 0; ky < kh; ky++) {
    const int at_y = in_y + ky * dilation_y;
    if ((uint)at_y >= (uint)height)
      continue;
    for (int kx = 0; kx < kw; kx++) {
      const int at_x = in_x + kx * dilation_x;
      const bool in0 = (uint)at_x < (uint)width;
      const bool in1 = first + 1 < columns && (uint)(at_x + step_x) < (uint)width;
      const bool in2 = first + 2 < columns && (uint)(at_x + 2 * step_x) < (uint)width;
      const bool in3 = first + 3 < columns && (uint)(at_x + 3 * step_x) < (uint)width;
      __global const float4 *weight = w + (long)((part * kh + ky) * kw + kx) * in_blocks * 4;
      const long next = (long)kh * kw * in_blocks * 4; /* to the next output block's */
      int2 at = TEXEL(x, n, from, at_y, at_x);
      for (int i = 0; i < in_blocks; i++, at.x += x_columns, weight += 4) {
        const float4 zero = (float4)(0.0f);
        const float4 v0 = in0 ? read_imagef(x, EXACT, at) : zero;
        const float4 v1 = in1 ? read_imagef(x, EXACT, at + (int2)(step_x, 0)) : zero;
        const float4 v2 = in2 ? read_imagef(x, EXACT, at + (int2)(2 * step_x, 0)) : zero;
        const float4 v3 = in3 ? read_imagef(x, EXACT, at + (int2)(3 * step_x, 0)) : zero;
#pragma unroll
        for (int o = 0; o < BLOCKS; o++) {
          const float4 w0 = weight[o * next], w1 = weight[o * next + 1];
          const float4 w2 = weight[o * next + 2], w3 = weight[o * next + 3];
          sum[o][0] = sum[o][0] + v0.x * w0 + v0.y * w1 + v0.z * w2 + v0.w * w3;
          sum[o][1] = sum[o][1] + v1.x * w0 + v1.y * w1 + v1.z * w2 + v1.w * w3;
          sum[o][2] = sum[o][2] + v2.x * w0 + v2.y * w1 + v2.z * w2 + v2.w * w3;
          sum[o][3] = sum[o][3] + v3.x * w0 + v3.y * w1 + v3.z * w2 + v3.w * w3;
        }
      }
    }
  }
#pragma unroll
  for (int o = 0; o < BLOCKS; o++) {
    const int block = block0 + part + o;
    if (4 * block < channels)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (first + i < columns) {
          const int column = column0 + first + i;
          float4 v = sum[o][i];
#if RESIDUAL == 1
          v = v + read_imagef(r, EXACT, TEXEL(r, n, block, row, column));
#endif
          v = ACTIVATE(v, p, q);
#if RESIDUAL == 2
          v = v + read_imagef(r, EXACT, TEXEL(r, n, block, row, column));
#endif
          write_imagef(y, TEXEL(y, n, block, row, column), within(v, 4 * block, channels));
        }
  }
}
