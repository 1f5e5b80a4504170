/* Convolution by the fast Fourier transform (codl/ops/fft.py) for CPU devices, in three kernels, one work-item a group:
   inputs transformed, a matrix product for each point, sums transformed back.

   x            feature map, channels contiguous; x_offset is row 0, column 0, channel 0 of the first image, x_limit the
                first element not to be read. Tile (n, r, c) reads 16 x 16 inputs from row r * out_y + origin_y on
   transformed  [tiles][POINTS], `apart` floats apart, of the channels
   u            [POINTS][ceil(channels / V)][depth][V] transformed weights, in the order in which they are read
   products     as transformed; b [ceil(channels / V)][V]
   y            feature map; `rows` x `columns` outputs are written from y_offset on, channels y_c apart
   Inputs are real, so of 16 x 16 frequencies (k, l) those with 0 < k < 8, or k in {0, 8} and l <= 8 say everything:
   130. A product of complex numbers (a + bi) (c + di) is computed as three real ones, of (a + b, a, b) with
   (c, d - c, c + d), hence 390 points.
   Global sizes: (blocks of V channels, tiles from the `first` on, 1), of the products (POINTS, 1, 1). Compile with SIMD (4, 8,
   16), PIXELS (6, 14) tiles in the largest register tile, ACTIVATION, RESIDUAL (see residual.cl). Loops over arrays of
   vectors are unrolled by request: the arrays would not become registers otherwise. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "residual.cl"
#include "vector.cl"
#include "register_tile.cl"

#define SIDE 16
#define HALF 8
#define POINTS 390
#define INLINE static inline __attribute__((always_inline))

/* cos and -sin of m / 16 of a circle. */
#define C1 0.92387953f
#define S1 0.38268343f
#define R 0.70710678f
__constant float COS[10] = {1.0f, C1, R, S1, 0.0f, -S1, -R, -C1, -1.0f, -C1};
__constant float SIN[10] = {0.0f, -S1, -R, -C1, -1.0f, -C1, -R, -S1, 0.0f, S1};

/* Transform of four complex numbers, `step` apart from `at` on, in place. */
INLINE void dft4(VEC *re, VEC *im, int at, int step) {
  const VEC even = re[at] + re[at + 2 * step], even_i = im[at] + im[at + 2 * step];
  const VEC rest = re[at] - re[at + 2 * step], rest_i = im[at] - im[at + 2 * step];
  const VEC odd = re[at + step] + re[at + 3 * step], odd_i = im[at + step] + im[at + 3 * step];
  const VEC turn = re[at + step] - re[at + 3 * step], turn_i = im[at + step] - im[at + 3 * step];
  re[at] = even + odd;
  im[at] = even_i + odd_i;
  re[at + step] = rest + turn_i;
  im[at + step] = rest_i - turn;
  re[at + 2 * step] = even - odd;
  im[at + 2 * step] = even_i - odd_i;
  re[at + 3 * step] = rest - turn_i;
  im[at + 3 * step] = rest_i + turn;
}

/* Transform of 16 complex numbers in place; frequency k is left at PLACE(k). With re and im exchanged, the inverse times 16. */
#define PLACE(k) (4 * ((k) % 4) + (k) / 4)
INLINE void dft16(VEC *re, VEC *im) {
#pragma unroll
  for (int n = 0; n < 4; n++)
    dft4(re, im, n, 4);
#pragma unroll
  for (int k = 1; k < 4; k++)
#pragma unroll
    for (int n = 1; n < 4; n++) {
      const VEC a = re[4 * k + n], b = im[4 * k + n];
      re[4 * k + n] = COS[n * k] * a - SIN[n * k] * b;
      im[4 * k + n] = COS[n * k] * b + SIN[n * k] * a;
    }
#pragma unroll
  for (int k = 0; k < 4; k++)
    dft4(re, im, 4 * k, 1);
}

/* Transform of 16 real numbers d: frequencies 0 to 8 as re[0] .. re[8] and im[1] .. im[7]. */
INLINE void real16(const VEC *d, VEC *re, VEC *im) {
  VEC ones[4], two[4], a[4], b[4]; /* of every fourth number: frequencies 0, 2 (both real) and 1 */
#pragma unroll
  for (int n = 0; n < 4; n++) {
    const VEC even = d[n] + d[n + 8], odd = d[n + 4] + d[n + 12];
    const VEC c = d[n] - d[n + 8], s = d[n + 12] - d[n + 4];
    ones[n] = even + odd;
    two[n] = even - odd;
    a[n] = COS[n] * c - SIN[n] * s;
    b[n] = COS[n] * s + SIN[n] * c;
  }
  re[0] = (ones[0] + ones[2]) + (ones[1] + ones[3]);
  re[8] = (ones[0] + ones[2]) - (ones[1] + ones[3]);
  re[4] = ones[0] - ones[2];
  im[4] = ones[3] - ones[1];
  const VEC near = R * (two[1] - two[3]), far = R * (two[1] + two[3]);
  re[2] = two[0] + near;
  re[6] = two[0] - near;
  im[2] = -two[2] - far;
  im[6] = two[2] - far;
  dft4(a, b, 0, 1);
  re[1] = a[0];
  im[1] = b[0];
  re[5] = a[1];
  im[5] = b[1];
  re[7] = a[2];
  im[7] = -b[2];
  re[3] = a[3];
  im[3] = -b[3];
}

/* The inverse of real16, times 16. */
INLINE void back16(const VEC *re, const VEC *im, VEC *d) {
  VEC a[4], b[4];
  a[0] = re[1];
  b[0] = im[1];
  a[1] = re[5];
  b[1] = im[5];
  a[2] = re[7];
  b[2] = -im[7];
  a[3] = re[3];
  b[3] = -im[3];
  dft4(b, a, 0, 1);
  const VEC sum = re[0] + re[8], rest = re[0] - re[8];
  VEC ones[4], two[4];
  ones[0] = sum + 2.0f * re[4];
  ones[1] = rest - 2.0f * im[4];
  ones[2] = sum - 2.0f * re[4];
  ones[3] = rest + 2.0f * im[4];
  two[0] = 2.0f * (re[2] + re[6]);
  two[2] = 2.0f * (im[6] - im[2]);
  const VEC c = 2.0f * R * (re[2] - re[6]), s = 2.0f * R * (im[2] + im[6]);
  two[1] = c - s;
  two[3] = -c - s;
#pragma unroll
  for (int n = 0; n < 4; n++) {
    const VEC real = 2.0f * (COS[n] * a[n] + SIN[n] * b[n]), imaginary = 2.0f * (COS[n] * b[n] - SIN[n] * a[n]);
    d[n] = (ones[n] + two[n]) + real;
    d[n + 8] = (ones[n] + two[n]) - real;
    d[n + 4] = (ones[n] - two[n]) - imaginary;
    d[n + 12] = (ones[n] - two[n]) + imaginary;
  }
}

/* The first of the three points of frequency (k, l). */
#define POINT(k, l) (3 * ((k) == 0 ? (l) : 9 + 16 * ((k) - 1) + (l)))

INLINE void put_point(__global float *to, int apart, VEC a, VEC b) {
  STORE(to, a + b);
  STORE(to + apart, a);
  STORE(to + 2 * apart, b);
}

__kernel void fft_input(__global const float *restrict x, __global float *restrict transformed, int x_offset, int x_limit,
                        int x_n, int x_y, int x_x, int height, int width, int tile_rows, int tile_columns, int out_y,
                        int out_x, int origin_y, int origin_x, int first, int depth, int apart) {
  const int tile = first + get_global_id(1);
  const int c = tile % tile_columns, r = tile / tile_columns % tile_rows, n = tile / tile_columns / tile_rows;
  const int top = r * out_y + origin_y, left = c * out_x + origin_x;
  VEC half_way[SIDE][SIDE]; /* frequencies of the columns: real parts of 0 to 8, imaginary parts of 1 to 7 */
  for (int side = 0; side < V; side += SIMD) {
    const int channel = get_global_id(0) * V + side;
    if (channel >= depth)
      return;
    for (int j = 0; j < SIDE; j++) {
      VEC d[SIDE], re[HALF + 1], im[HALF];
      const bool inside = (uint)(left + j) < (uint)width;
      const int at = x_offset + n * x_n + top * x_y + (left + j) * x_x + channel;
      const bool whole = depth - channel >= SIMD;
#pragma unroll
      for (int i = 0; i < SIDE; i++)
        if (!inside || (uint)(top + i) >= (uint)height)
          d[i] = (VEC)(0.0f);
        else
          d[i] = whole ? LOAD(x + at + i * x_y) : channels_at(x, at + i * x_y, depth - channel, x_limit);
      real16(d, re, im);
#pragma unroll
      for (int k = 0; k <= HALF; k++)
        half_way[k][j] = re[k];
#pragma unroll
      for (int k = 1; k < HALF; k++)
        half_way[HALF + k][j] = im[k];
    }
    __global float *to = transformed + (long)get_global_id(1) * POINTS * apart + channel;
    for (int k = 0; k <= HALF; k += HALF) {
      VEC re[HALF + 1], im[HALF];
      real16(half_way[k], re, im);
      put_point(to + POINT(k, 0) * apart, apart, re[0], (VEC)(0.0f));
      put_point(to + POINT(k, HALF) * apart, apart, re[HALF], (VEC)(0.0f));
#pragma unroll
      for (int l = 1; l < HALF; l++)
        put_point(to + POINT(k, l) * apart, apart, re[l], im[l]);
    }
    for (int k = 1; k < HALF; k++) {
      VEC re[SIDE], im[SIDE];
#pragma unroll
      for (int j = 0; j < SIDE; j++) {
        re[j] = half_way[k][j];
        im[j] = half_way[HALF + k][j];
      }
      dft16(re, im);
#pragma unroll
      for (int l = 0; l < SIDE; l++)
        put_point(to + POINT(k, l) * apart, apart, re[PLACE(l)], im[PLACE(l)]);
    }
  }
}

#define LEAVE(i) STORE(to + i * POINTS * to_apart, low##i); STORE(to + i * POINTS * to_apart + SIMD, high##i);
#define PRODUCTS(N) \
  case N: { \
    const VEC low = (VEC)(0.0f), high = low; \
    EACH_##N(DECLARE) \
    EACH_##N(START) \
    STREAMED(N, depth) \
    EACH_##N(LEAVE) \
    break; \
  }
#if PIXELS == 6
#define SIZES(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#else
#define SIZES(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14)
#endif

__kernel void fft_products(__global const float *restrict transformed, __global const float *restrict u,
                           __global float *restrict products, int tiles, int depth, int channels, int from_apart,
                           int to_apart) {
  const int point = get_global_id(0), blocks = (channels + V - 1) / V;
  const int register_tiles = (tiles + PIXELS - 1) / PIXELS, size = (tiles + register_tiles - 1) / register_tiles;
  const int apart = POINTS * from_apart, pace = (V + register_tiles - 1) / register_tiles;
  for (int block = 0; block < blocks; block++) {
    __global const float *panel = u + ((long)point * blocks + block) * depth * V;
    /* What is read next, asked for little by little: it comes from memory, which the processor foresees too late. */
    __global const float *soon = panel + (long)depth * V;
    for (int tile = 0; tile < tiles; tile += size) {
      __global const float *now = panel;
      __global const float *a = transformed + (long)tile * apart + point * from_apart;
      __global float *to = products + ((long)tile * POINTS + point) * to_apart + block * V;
      switch (min(size, tiles - tile)) { SIZES(PRODUCTS) }
    }
  }
}

/* The sums of three points as a complex number. */
INLINE void take_point(__global const float *from, int apart, VEC *re, VEC *im) {
  const VEC first = LOAD(from);
  *re = first - LOAD(from + 2 * apart);
  *im = first + LOAD(from + apart);
}

__kernel void fft_output(__global const float *restrict products, __global const float *restrict b,
                         __global float *restrict y, int y_offset, int y_n, int y_y, int y_x, int y_c, int rows,
                         int columns, int tile_rows, int tile_columns, int out_y, int out_x, int first, int channels, int apart,
                          float p, float q RESIDUAL_ARGUMENTS) {
  const int channel = get_global_id(0) * V, tile = first + get_global_id(1);
  const int c = tile % tile_columns, r = tile / tile_columns % tile_rows, n = tile / tile_columns / tile_rows;
  VEC half_way[SIDE][SIDE], results[2][SIDE][SIDE];
  for (int side = 0; side < 2; side++) {
    __global const float *from = products + (long)get_global_id(1) * POINTS * apart + channel + side * SIMD;
    for (int k = 0; k <= HALF; k += HALF) {
      VEC re[HALF + 1], im[HALF + 1];
#pragma unroll
      for (int l = 0; l <= HALF; l++)
        take_point(from + POINT(k, l) * apart, apart, &re[l], &im[l]);
      back16(re, im, half_way[k]);
    }
    for (int k = 1; k < HALF; k++) {
      VEC re[SIDE], im[SIDE];
#pragma unroll
      for (int l = 0; l < SIDE; l++)
        take_point(from + POINT(k, l) * apart, apart, &re[l], &im[l]);
      dft16(im, re);
#pragma unroll
      for (int j = 0; j < SIDE; j++) {
        half_way[k][j] = re[PLACE(j)];
        half_way[HALF + k][j] = im[PLACE(j)];
      }
    }
    const VEC bias = LOAD(b + channel + side * SIMD);
    for (int j = 0; j < out_x; j++) {
      VEC re[HALF + 1], im[HALF], d[SIDE];
#pragma unroll
      for (int k = 0; k <= HALF; k++)
        re[k] = half_way[k][j];
#pragma unroll
      for (int k = 1; k < HALF; k++)
        im[k] = half_way[HALF + k][j];
      back16(re, im, d);
#pragma unroll
      for (int i = 0; i < SIDE; i++)
        results[side][i][j] = d[i] + bias;
    }
  }
  const int high = min(out_y, rows - r * out_y), wide = min(out_x, columns - c * out_x);
  for (int i = 0; i < high; i++)
    for (int j = 0; j < wide; j++) {
      VEC low = (VEC)(0.0f), high_part = low;
#if RESIDUAL
      take(z + z_offset + n * z_n + (r * out_y + i) * z_y + (c * out_x + j) * z_x + channel, channels - channel, &low,
           &high_part);
#endif
      put(y, y_offset + n * y_n + (r * out_y + i) * y_y + (c * out_x + j) * y_x + channel * y_c, y_c, channels - channel,
          TAIL(results[0][i][j], low, p, q), TAIL(results[1][i][j], high_part, p, q));
    }
}
