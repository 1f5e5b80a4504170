/* Implicit GEMM as in conv_tile.cl, for GPU devices: 256 work-items compute 64 pixels x 64 output channels, 4 x 4 each,
   with 16 steps of k at a time in local memory. Arguments and layouts are those of conv_tile.cl with V = 64.
   Global size: (ceil(pixels / 64) * 256, ceil(channels / 64), groups), local (256, 1, 1). */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"

#define TILE 64
#define STEP 16
#define PER 4

__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void conv_tile_gpu(
    __global const float *restrict x, __global const float *restrict w, __global const float *restrict b,
    __global float *restrict y,
    int x_offset, int x_limit, int x_n, int x_y, int x_x, int x_c, int x_group, int height, int width,
    int y_offset, int y_n, int y_y, int y_x, int y_c, int y_group, int rows, int columns, int pixels,
    int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
    int depth, int channels, float p, float q) {
  __local float a[2][STEP][TILE + PER]; /* [k][pixel]; the gap spreads the transposed stores over the banks */
  __local float4 c[2][STEP][TILE / PER];

  const int id = get_local_id(0), group = get_global_id(2), block = get_group_id(1);
  const int blocks = (channels + TILE - 1) / TILE;
  const int k_all = kh * kw * depth;
  const int first = get_group_id(0) * TILE;

  /* this work-item brings pixel id / 4, steps id % 4 * 4 ... + 3 of x, and one float4 of w */
  const int pixel = first + id / 4, lane = id % 4 * PER;
  const int my_c = pixel % columns, my_r = pixel / columns % rows, my_n = pixel / columns / rows;
  const int in_y = my_r * step_y + origin_y, in_x = my_c * step_x + origin_x;
  const int from = x_offset + group * x_group + my_n * x_n + in_y * x_y + in_x * x_x;
  __global const float4 *panel = (__global const float4 *)(w + (long)(group * blocks + block) * k_all * TILE);

  /* and computes 4 pixels x 4 channels */
  const int mine_m = id / 16 * PER, mine_n = id % 16;
  float4 sum[PER] = {(float4)(0.0f), (float4)(0.0f), (float4)(0.0f), (float4)(0.0f)};

  int tap = lane / depth, ch = lane - tap * depth;
  int buffer = 0;
  for (int k0 = 0; k0 < k_all; k0 += STEP, buffer ^= 1) {
    int t = tap, d = ch;
    for (int i = 0; i < PER; i++) {
      const int ky = t / kw, kx = t - ky * kw;
      const int row = in_y + ky * dilation_y, column = in_x + kx * dilation_x;
      const bool inside = k0 + lane + i < k_all && pixel < pixels && (uint)row < (uint)height && (uint)column < (uint)width;
      a[buffer][lane + i][id / 4] = inside ? x[from + ky * dilation_y * x_y + kx * dilation_x * x_x + d * x_c] : 0.0f;
      if (++d == depth) {
        d = 0;
        t++;
      }
    }
    ch += STEP;
    while (ch >= depth) {
      ch -= depth;
      tap++;
    }
    c[buffer][id / 16][id % 16] = k0 + id / 16 < k_all ? panel[(k0 + id / 16) * (TILE / PER) + id % 16] : (float4)(0.0f);
    barrier(CLK_LOCAL_MEM_FENCE); /* two buffers: one barrier a round is enough */
    for (int k = 0; k < STEP; k++) {
      const float4 weight = c[buffer][k][mine_n];
      for (int i = 0; i < PER; i++)
        sum[i] = sum[i] + a[buffer][k][mine_m + i] * weight;
    }
  }

  const int channel = block * TILE + mine_n * PER;
  const float4 bias = *(__global const float4 *)(b + group * blocks * TILE + channel);
  for (int i = 0; i < PER; i++) {
    const int m = first + mine_m + i;
    if (m >= pixels)
      break;
    const float4 value = ACTIVATE(sum[i] + bias, p, q);
    const int to = y_offset + group * y_group + m / columns / rows * y_n + m / columns % rows * y_y + m % columns * y_x;
    if (channel < channels) y[to + channel * y_c] = value.x;
    if (channel + 1 < channels) y[to + (channel + 1) * y_c] = value.y;
    if (channel + 2 < channels) y[to + (channel + 2) * y_c] = value.z;
    if (channel + 3 < channels) y[to + (channel + 3) * y_c] = value.w;
  }
}
