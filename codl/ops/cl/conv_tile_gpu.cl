/* Implicit GEMM as in conv_tile.cl, for GPU devices: 256 work-items compute 16 * PM pixels x 16 * PN output channels,
   PM x PN each, with STEP steps of k at a time in local memory while the next ones are on their way into registers.

   x, y  as in conv_tile.cl; with VECTOR_X four channels of x, and with VECTOR_Y of y, can be moved as one vector
   w     [group][ceil(channels / N)][kh * kw * depth][N], N = 16 * PN; b [group][ceil(channels / N)][N]
   Work-groups along dimension 2 are groups * parts: each part sums `k_part` steps of k. With PARTIAL, y is a scratch
   buffer [part][group][pixel][channel] of plain sums, which tile_sum_gpu.cl adds up.
   Global size: (ceil(pixels / (16 * PM)) * 256, ceil(channels / N), groups * parts), local (256, 1, 1).
   Compile with PM, PN (4, 8), VECTOR_X, VECTOR_Y (of z too), PARTIAL (0, 1), ACTIVATION, RESIDUAL (see residual.cl). */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "residual.cl"

#define M (16 * PM)
#define N (16 * PN)
#define STEP 16
#define ROWS_A (M / 64) /* pixels that a work-item fetches, 4 steps of k each */
#define ROWS_W (N / 64) /* vectors of weights that it fetches */

/* Four steps of k, from `k` on, of one pixel. */
static inline float4 fetch(__global const float *x, int from, int in_y, int in_x, bool wanted, int k, int k_end,
                           int kw, int depth, int height, int width, int dilation_y, int dilation_x,
                           int x_y, int x_x, int x_c) {
  int tap = k / depth, c = k - tap * depth, ky = tap / kw, kx = tap - ky * kw;
#if VECTOR_X
  const int row = in_y + ky * dilation_y, column = in_x + kx * dilation_x;
  if (!wanted || k >= k_end || (uint)row >= (uint)height || (uint)column >= (uint)width)
    return (float4)(0.0f);
  return *(__global const float4 *)(x + from + ky * dilation_y * x_y + kx * dilation_x * x_x + c);
#else
  float each[4];
  for (int i = 0; i < 4; i++) {
    const int row = in_y + ky * dilation_y, column = in_x + kx * dilation_x;
    each[i] = wanted && k + i < k_end && (uint)row < (uint)height && (uint)column < (uint)width
                  ? x[from + ky * dilation_y * x_y + kx * dilation_x * x_x + c * x_c] : 0.0f;
    if (++c == depth) {
      c = 0;
      if (++kx == kw) {
        kx = 0;
        ky++;
      }
    }
  }
  return (float4)(each[0], each[1], each[2], each[3]);
#endif
}

__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void conv_tile_gpu(
    __global const float *restrict x, __global const float *restrict w, __global const float *restrict b,
    __global float *restrict y,
    int x_offset, int x_limit, int x_n, int x_y, int x_x, int x_c, int x_group, int height, int width,
    int y_offset, int y_n, int y_y, int y_x, int y_c, int y_group, int rows, int columns, int pixels,
    int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
    int depth, int channels, int groups, int k_part, float p, float q
    RESIDUAL_ARGUMENTS) {
  __local float a[2][STEP][M + 4]; /* [k][pixel]; the gap spreads the transposed stores over the banks */
  __local float4 c[2][STEP][N / 4];

  const int id = get_local_id(0), block = get_group_id(1);
  const int group = get_group_id(2) % groups, part = get_group_id(2) / groups;
  const int blocks = (channels + N - 1) / N;
  const int k_all = kh * kw * depth, k_start = part * k_part, k_end = min(k_start + k_part, k_all);
  const int first = get_group_id(0) * M;

  /* what this work-item fetches: pixels id / 4 + 64 * i, steps id % 4 * 4 to + 3 */
  const int lane = id % 4 * 4;
  int in_y[ROWS_A], in_x[ROWS_A], from[ROWS_A];
#pragma unroll
  for (int i = 0; i < ROWS_A; i++) {
    const int pixel = first + id / 4 + 64 * i;
    in_y[i] = pixel / columns % rows * step_y + origin_y;
    in_x[i] = pixel % columns * step_x + origin_x;
    from[i] = x_offset + group * x_group + pixel / columns / rows * x_n + in_y[i] * x_y + in_x[i] * x_x;
  }
  __global const float4 *panel = (__global const float4 *)(w + (long)(group * blocks + block) * k_all * N);

  /* and what it computes: pixels mine_m + 64 * i to + 3, channels mine_n + 64 * j to + 3 */
  const int mine_m = id / 16 * 4, mine_n = id % 16;
  float4 sum[PM][PN / 4];
#pragma unroll
  for (int i = 0; i < PM; i++)
#pragma unroll
    for (int j = 0; j < PN / 4; j++)
      sum[i][j] = (float4)(0.0f);

  float4 next_a[ROWS_A], next_w[ROWS_W];
  int buffer = 0;
  for (int k0 = k_start - STEP; k0 < k_end; k0 += STEP, buffer ^= 1) {
    const int k = k0 + STEP; /* the round before the first only fetches */
    if (k < k_end) {
#pragma unroll
      for (int i = 0; i < ROWS_A; i++)
        next_a[i] = fetch(x, from[i], in_y[i], in_x[i], first + id / 4 + 64 * i < pixels, k + lane, k_end, kw, depth,
                          height, width, dilation_y, dilation_x, x_y, x_x, x_c);
#pragma unroll
      for (int i = 0; i < ROWS_W; i++) {
        const int at = id + 256 * i, row = at / (N / 4);
        next_w[i] = k + row < k_end ? panel[(k + row) * (N / 4) + at % (N / 4)] : (float4)(0.0f);
      }
    }
    if (k0 >= k_start)
#pragma unroll
      for (int s = 0; s < STEP; s++) {
        float4 weight[PN / 4];
#pragma unroll
        for (int j = 0; j < PN / 4; j++)
          weight[j] = c[buffer][s][mine_n + 16 * j];
#pragma unroll
        for (int i = 0; i < PM / 4; i++) {
          const float4 v = *(__local const float4 *)&a[buffer][s][mine_m + 64 * i];
#pragma unroll
          for (int j = 0; j < PN / 4; j++) {
            sum[4 * i][j] = sum[4 * i][j] + v.x * weight[j];
            sum[4 * i + 1][j] = sum[4 * i + 1][j] + v.y * weight[j];
            sum[4 * i + 2][j] = sum[4 * i + 2][j] + v.z * weight[j];
            sum[4 * i + 3][j] = sum[4 * i + 3][j] + v.w * weight[j];
          }
        }
      }
    if (k < k_end) { /* into the buffer that nobody reads until the barrier */
#pragma unroll
      for (int i = 0; i < ROWS_A; i++) {
        a[buffer ^ 1][lane][id / 4 + 64 * i] = next_a[i].x;
        a[buffer ^ 1][lane + 1][id / 4 + 64 * i] = next_a[i].y;
        a[buffer ^ 1][lane + 2][id / 4 + 64 * i] = next_a[i].z;
        a[buffer ^ 1][lane + 3][id / 4 + 64 * i] = next_a[i].w;
      }
#pragma unroll
      for (int i = 0; i < ROWS_W; i++)
        c[buffer ^ 1][(id + 256 * i) / (N / 4)][(id + 256 * i) % (N / 4)] = next_w[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

#pragma unroll
  for (int i = 0; i < PM; i++) {
    const int m = first + mine_m + i / 4 * 64 + i % 4;
    if (m >= pixels)
      continue;
#pragma unroll
    for (int j = 0; j < PN / 4; j++) {
      const int channel = block * N + mine_n * 4 + j * 64;
#if PARTIAL
      const int to = ((part * groups + group) * pixels + m) * channels + channel, stride = 1;
      const float4 value = sum[i][j];
#else
      const int to = y_offset + group * y_group + m / columns / rows * y_n + m / columns % rows * y_y + m % columns * y_x
                     + channel * y_c, stride = y_c;
      float4 added = (float4)(0.0f);
#if RESIDUAL
      __global const float *other = z + z_offset + group * y_group + m / columns / rows * z_n + m / columns % rows * z_y
                                    + m % columns * z_x + channel;
#if VECTOR_Y
      if (channel < channels)
        added = *(__global const float4 *)other;
#else
      if (channel < channels) added.x = other[0];
      if (channel + 1 < channels) added.y = other[1];
      if (channel + 2 < channels) added.z = other[2];
      if (channel + 3 < channels) added.w = other[3];
#endif
#endif
      const float4 value = TAIL(sum[i][j] + *(__global const float4 *)(b + group * blocks * N + channel), added, p, q);
#endif
#if VECTOR_Y
      if (channel < channels)
        *(__global float4 *)(y + to) = value;
#else
      if (channel < channels) y[to] = value.x;
      if (channel + 1 < channels) y[to + stride] = value.y;
      if (channel + 2 < channels) y[to + 2 * stride] = value.z;
      if (channel + 3 < channels) y[to + 3 * stride] = value.w;
#endif
    }
  }
}
