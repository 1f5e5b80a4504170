/* Convolution and matrix product as implicit GEMM, for CPU devices: one work-item a group, explicit vectors.

   y[pixel][oc] = act(bias[oc] + sum_k x(pixel, k) * w[k][oc]),  k = (tap row, tap column, channel).

   A work-item computes up to TILES * PIXELS output pixels for `blocks_per_item` blocks of V = 2 * SIMD output channels.
   It gathers the pixels' inputs for one chunk of k into `stage` (zeros for padding), where every address of the inner
   loop is a constant distance from one pointer; the inner loop keeps PIXELS x 2 vectors of sums in registers. Inputs
   of 1 x 1 convolutions that follow each other in memory are read where they lie.

   x   feature map or matrix, any strides (elements): image x_n, row x_y, column x_x, channel x_c, group x_group;
       x_offset is the element of row 0, column 0, channel 0 of the launch; x_limit the first element not to be read
   w   [group][chunk of k][ceil(channels / V)][k in the chunk][V]: in the order in which they are read
   b   [group][ceil(channels / V)][V]
   y   likewise strided; pixel (image, row, column) of the `rows` x `columns` box to compute
   z   see residual.cl
   Output row r, tap row t read the input row r * step_y + origin_y + t * dilation_y; outside [0, height) lies padding.
   Global size: (ceil(pixels / (tiles * PIXELS)), ceil(blocks / blocks_per_item), groups).
   Compile with SIMD (4, 8, 16), PIXELS (1, 6, 14), WEIGHT_BYTES (2, 4), ACTIVATION, RESIDUAL (0, 1, 2). */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "residual.cl"
#include "vector.cl"
#include "register_tile.cl"

#define TILES (PIXELS == 6 ? 8 : PIXELS == 14 ? 4 : 1)
#define CHUNK (PIXELS == 1 ? 4096 : 256)
#define ROW (CHUNK + 16) /* not a power of two: rows must not share cache sets; room to write beyond the end */
#define BLOCKS 8

/* Adds a chunk's products to the sums: `now` are its weights. */
#define PRODUCTS(STEP_OF) \
  for (int k = 0; k < k1 - k0; k++, now += V) { \
    const VEC w_low = WEIGHTS(now), w_high = WEIGHTS(now + SIMD); \
    EACH(STEP_OF) \
  }
/* Where the upper half of a block lies beyond the last channel. */
#define STEP_LOW(i) low##i = low##i + (VEC)(a[i * apart + k]) * w_low;

/* Copies n floats; may write up to SIMD - 1 floats beyond them, and reads beyond them where `limit` allows. */
static inline void copy(float *to, __global const float *x, int at, int n, int limit) {
  int i = 0;
  for (; i + SIMD <= n; i += SIMD)
    STORE_PRIVATE(to + i, LOAD(x + at + i));
  if (i < n) {
    if (at + i + SIMD <= limit)
      STORE_PRIVATE(to + i, LOAD(x + at + i));
    else
      for (; i < n; i++)
        to[i] = x[at + i];
  }
}

static inline void copy_strided(float *to, __global const float *x, int at, int n, int stride) {
  for (int i = 0; i < n; i++)
    to[i] = x[at + i * stride];
}

static inline void zero(float *to, int n) {
  for (int i = 0; i < n; i += SIMD)
    STORE_PRIVATE(to + i, (VEC)(0.0f));
}

__kernel void conv_tile(__global const float *restrict x, __global const weight_t *restrict w,
                        __global const float *restrict b, __global float *restrict y,
                        int x_offset, int x_limit, int x_n, int x_y, int x_x, int x_c, int x_group,
                        int height, int width,
                        int y_offset, int y_n, int y_y, int y_x, int y_c, int y_group,
                        int rows, int columns, int pixels,
                        int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
                        int depth, int channels, int chunk, int tiles, int blocks_per_item, float p, float q
                        RESIDUAL_ARGUMENTS) {
  float stage[TILES * PIXELS * ROW] __attribute__((aligned(64)));
  VEC sums[BLOCKS * TILES * PIXELS * 2];
  int in_y[TILES * PIXELS], in_x[TILES * PIXELS], from[TILES * PIXELS], to[TILES * PIXELS];
  WITH_RESIDUAL(int added[TILES * PIXELS];)
  bool inner[TILES * PIXELS]; /* all taps lie in the map, and whole vectors can be read up to the end */
  bool in_place;              /* one tap, and pixel follows pixel in memory: nothing to gather */

  const int group = get_global_id(2);
  const int blocks = (channels + V - 1) / V;
  const int first_block = get_global_id(1) * blocks_per_item;
  const int last_block = min(first_block + blocks_per_item, blocks);
  const int k_all = kh * kw * depth;
  const int first_pixel = get_global_id(0) * tiles * PIXELS;
  const int count = min(tiles * PIXELS, pixels - first_pixel);
  const int used_tiles = (count + PIXELS - 1) / PIXELS;
  const bool dense = x_c == 1 && dilation_x == 1 && x_x == depth; /* neighbouring taps are neighbours in memory */

  {
    const int tall = (kh - 1) * dilation_y, broad = (kw - 1) * dilation_x;
    const int reach = max(tall * x_y + broad * x_x, 0) + depth + SIMD;
    in_place = kh * kw == 1 && count % PIXELS == 0;
    int c = first_pixel % columns, r = first_pixel / columns % rows, n = first_pixel / columns / rows;
    for (int m = 0; m < count; m++) {
      in_y[m] = r * step_y + origin_y;
      in_x[m] = c * step_x + origin_x;
      from[m] = x_offset + group * x_group + n * x_n + in_y[m] * x_y + in_x[m] * x_x;
      inner[m] = x_c == 1 && in_y[m] >= 0 && in_y[m] + tall < height && in_x[m] >= 0 && in_x[m] + broad < width
                 && from[m] + reach <= x_limit;
      in_place = in_place && inner[m] && from[m] == from[0] + m * x_x;
      to[m] = y_offset + group * y_group + n * y_n + r * y_y + c * y_x;
      WITH_RESIDUAL(added[m] = z_offset + group * y_group + n * z_n + r * z_y + c * z_x;)
      if (++c == columns) {
        c = 0;
        if (++r == rows) {
          r = 0;
          n++;
        }
      }
    }
  }
  for (int m = count; m < used_tiles * PIXELS; m++) /* a last tile's surplus pixels: computed, never stored */
    zero(stage + m * ROW, chunk);

  for (int k0 = 0; k0 == 0 || k0 < k_all; k0 += chunk) {
    const int k1 = min(k0 + chunk, k_all);
    int length;
    for (int k = in_place ? k1 : k0; k < k1; k += length) {
      const int tap = k / depth, c = k - tap * depth, ky = tap / kw, kx = tap - ky * kw;
      const int shift = ky * dilation_y * x_y + kx * dilation_x * x_x + c * x_c;
      length = min((dense ? kw - kx : 1) * depth - c, k1 - k);
      const int last = kx + (c + length - 1) / depth; /* the segment's last tap column */
      for (int m = 0; m < count; m++) {
        float *target = stage + m * ROW + k - k0;
        if (inner[m]) {
          __global const float *source = x + from[m] + shift;
          for (int i = 0; i < length; i += SIMD)
            STORE_PRIVATE(target + i, LOAD(source + i));
          continue;
        }
        const int left = in_x[m] + kx * dilation_x, right = in_x[m] + last * dilation_x;
        if ((uint)(in_y[m] + ky * dilation_y) >= (uint)height || right < 0 || left >= width)
          zero(target, length);
        else if (left >= 0 && right < width) {
          if (x_c == 1)
            copy(target, x, from[m] + shift, length, x_limit);
          else
            copy_strided(target, x, from[m] + shift, length, x_c);
        } else /* only a dense segment of several taps can lie across the border */
          for (int i = 0; i < length; i++) {
            const int column = left + (c + i) / depth;
            target[i] = column >= 0 && column < width ? x[from[m] + shift + i] : 0.0f;
          }
      }
    }
    for (int block = first_block; block < last_block; block++) {
      __global const weight_t *panel = w + (((long)group * k_all + k0) * blocks + block * (k1 - k0)) * V;
      __global const float *bias = b + (group * blocks + block) * V;
      for (int tile = 0; tile < used_tiles; tile++) {
        VEC *kept = sums + ((block - first_block) * TILES + tile) * PIXELS * 2;
        EACH(DECLARE)
        if (k0 == 0) {
          const VEC low = LOAD(bias), high = LOAD(bias + SIMD);
          EACH(START)
        } else {
          EACH(RESUME)
        }
#if RESIDUAL
        const int *added_at = added + tile * PIXELS;
        if (k1 == k_all) /* in time: after the loop the processor would wait for each pixel's */
          for (int i = 0; i < PIXELS; i++)
            SOON_BLOCK(z + added_at[i] + block * V);
#endif
        __global const weight_t *now = panel;
        const bool low_only = channels - block * V <= SIMD;
        if (in_place) {
          __global const float *a = x + from[tile * PIXELS] + k0;
          const int apart = x_x;
          if (low_only)
            PRODUCTS(STEP_LOW)
          else
            PRODUCTS(STEP)
        } else {
          const float *a = stage + tile * PIXELS * ROW;
          const int apart = ROW;
          if (low_only)
            PRODUCTS(STEP_LOW)
          else
            PRODUCTS(STEP)
        }
        if (k1 < k_all) {
          EACH(KEEP)
        } else {
          const int *at = to + tile * PIXELS, left = count - tile * PIXELS, filled = channels - block * V;
          const bool whole = left >= PIXELS && filled >= V && y_c == 1;
#if RESIDUAL
#define FINISH(i, whole) \
  if (whole || i < left) { \
    VEC z_low, z_high; \
    take(z + added_at[i] + block * V, whole ? V : filled, &z_low, &z_high); \
    put(y, at[i] + block * V * y_c, whole ? 1 : y_c, whole ? V : filled, TAIL(low##i, z_low, p, q), \
        TAIL(high##i, z_high, p, q)); \
  }
#else
#define FINISH(i, whole) \
  if (whole || i < left) \
    put(y, at[i] + block * V * y_c, whole ? 1 : y_c, whole ? V : filled, ACTIVATE(low##i, p, q), ACTIVATE(high##i, p, q));
#endif
#define FINISH_WHOLE(i) FINISH(i, true)
#define FINISH_PART(i) FINISH(i, false)
          if (whole) { /* without a branch between the pixels */
            EACH(FINISH_WHOLE)
          } else {
            EACH(FINISH_PART)
          }
        }
      }
    }
  }
}
