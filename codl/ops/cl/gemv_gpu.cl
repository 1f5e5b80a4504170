/* Matrix-vector product for GPU devices: few rows, so that reading the weights is all that counts. 256 work-items
   compute 16 outputs of one row: 4 vectors of channels x 64 slices of k, summed in local memory.

   x   rows at x_offset + group * x_group + n * x_n + r * x_y + c * x_x, elements x_c apart
   w   [group][ceil(channels / 64)][depth][64], b [group][ceil(channels / 64)][64]
   Arguments are those of conv_tile_gpu.cl; those of windows are ignored (a 1 x 1 kernel, no padding, step 1).
   Global size: (ceil(channels / 16) * 256, rows, groups), local (256, 1, 1). Compile with ACTIVATION and RESIDUAL (see
   residual.cl). */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "residual.cl"

#define PANEL 64
#define SLICES 64

__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void gemv_gpu(
    __global const float *restrict x, __global const float *restrict w, __global const float *restrict b,
    __global float *restrict y,
    int x_offset, int x_limit, int x_n, int x_y, int x_x, int x_c, int x_group, int height, int width,
    int y_offset, int y_n, int y_y, int y_x, int y_c, int y_group, int rows, int columns, int pixels,
    int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
    int depth, int channels, float p, float q RESIDUAL_ARGUMENTS) {
  __local float4 sums[SLICES][4];
  const int lane = get_local_id(0) % 4, slice = get_local_id(0) / 4, pixel = get_global_id(1), group = get_global_id(2);
  const int c = pixel % columns, r = pixel / columns % rows, n = pixel / columns / rows;
  const int first = get_group_id(0) * 16, blocks = (channels + PANEL - 1) / PANEL;
  const int in_panel = first % PANEL + lane * 4;
  const long panel = group * blocks + first / PANEL;
  __global const float *from = x + x_offset + group * x_group + n * x_n + r * x_y + c * x_x;
  __global const float *weights = w + panel * depth * PANEL + in_panel;

  float4 sum = (float4)(0.0f);
#pragma unroll 8
  for (int k = slice; k < depth; k += SLICES)
    sum = sum + from[k * x_c] * *(__global const float4 *)(weights + (long)k * PANEL);
  sums[slice][lane] = sum;
  for (int half_ = SLICES / 2; half_ > 0; half_ /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (slice < half_)
      sums[slice][lane] = sums[slice][lane] + sums[slice + half_][lane];
  }
  if (slice > 0)
    return;
  const int channel = first + lane * 4;
  float4 added = (float4)(0.0f);
#if RESIDUAL
  __global const float *other = z + z_offset + group * y_group + n * z_n + r * z_y + c * z_x + channel;
  if (channel < channels) added.x = other[0];
  if (channel + 1 < channels) added.y = other[1];
  if (channel + 2 < channels) added.z = other[2];
  if (channel + 3 < channels) added.w = other[3];
#endif
  const float4 value = TAIL(sums[0][lane] + *(__global const float4 *)(b + panel * PANEL + in_panel), added, p, q);
  __global float *to = y + y_offset + group * y_group + n * y_n + r * y_y + c * y_x;
  if (channel < channels) to[channel * y_c] = value.x;
  if (channel + 1 < channels) to[(channel + 1) * y_c] = value.y;
  if (channel + 2 < channels) to[(channel + 2) * y_c] = value.z;
  if (channel + 3 < channels) to[(channel + 3) * y_c] = value.w;
}
