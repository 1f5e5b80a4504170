/* Depthwise convolution for CPU devices: one work-item a group computes `at_once` rows of one image, 4 pixels x one
   vector of channels at a time.

   x   feature map, channels contiguous; x_offset is row 0, column 0 of the first image and channel computed
   w   [kh * kw][channels], b [channels]
   y   feature map, channels contiguous; y_offset is the first element computed
   Output row r, tap row t read the input row r * step_y + origin_y + t * dilation_y; outside [0, height) lies padding.
   Global size: (ceil(rows / at_once), 1, images). Compile with SIMD (4, 8, 16), ACTIVATION, and QUAD: the column step
   (1 or 2) of a 3 x 3 kernel without dilation, for which there is a short way; 0 for any other. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "overlap.cl"
#include "vector.cl"

#if QUAD
#define ACROSS (3 * QUAD + 3) /* columns that 4 neighbouring outputs read */

/* 4 neighbouring outputs of one vector of channels. `in` is the first tap row of the first of the columns read, of which
   the first and the last may lie in padding: LEFT, RIGHT (constants, once inlined) say that they do not. `w` is the first
   tap row's weight, `taps` are the rows to compute. */
static inline __attribute__((always_inline)) void quad(
    __global const float *in, int x_y, int x_x, __global const float *w, int channels, VEC bias, __global float *out,
    int y_x, int taps, const bool LEFT, const bool RIGHT, float p, float q) {
  VEC s0 = bias, s1 = bias, s2 = bias, s3 = bias;
  for (int ky = 0; ky < taps; ky++, in += x_y, w += 3 * channels) {
    VEC v[ACROSS];
#pragma unroll
    for (int i = 0; i < ACROSS; i++)
      v[i] = (i > 0 || LEFT) && (i < ACROSS - 1 || RIGHT) ? LOAD(in + i * x_x) : (VEC)(0.0f);
#pragma unroll
    for (int kx = 0; kx < 3; kx++) {
      const VEC weight = LOAD(w + kx * channels);
      s0 = s0 + weight * v[kx];
      s1 = s1 + weight * v[QUAD + kx];
      s2 = s2 + weight * v[2 * QUAD + kx];
      s3 = s3 + weight * v[3 * QUAD + kx];
    }
  }
  STORE(out, ACTIVATE(s0, p, q));
  STORE(out + y_x, ACTIVATE(s1, p, q));
  STORE(out + 2 * y_x, ACTIVATE(s2, p, q));
  STORE(out + 3 * y_x, ACTIVATE(s3, p, q));
}

#if QUAD == 1
/* The same for two rows of outputs, which share two of the four rows read: those from `from` to `to` lie in the map. `in`
   and `w` are the first of all. */
static inline __attribute__((always_inline)) void double_quad(
    __global const float *in, int x_y, int x_x, __global const float *w, int channels, VEC bias, __global float *out,
    int y_y, int y_x, int from, int to, const bool LEFT, const bool RIGHT, float p, float q) {
  VEC s0 = bias, s1 = bias, s2 = bias, s3 = bias, t0 = bias, t1 = bias, t2 = bias, t3 = bias;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (k < from || k >= to)
      continue;
    VEC v[ACROSS];
#pragma unroll
    for (int i = 0; i < ACROSS; i++)
      v[i] = (i > 0 || LEFT) && (i < ACROSS - 1 || RIGHT) ? LOAD(in + k * x_y + i * x_x) : (VEC)(0.0f);
#pragma unroll
    for (int kx = 0; kx < 3; kx++) {
      if (k < 3) {
        const VEC weight = LOAD(w + (k * 3 + kx) * channels);
        s0 = s0 + weight * v[kx];
        s1 = s1 + weight * v[1 + kx];
        s2 = s2 + weight * v[2 + kx];
        s3 = s3 + weight * v[3 + kx];
      }
      if (k > 0) {
        const VEC weight = LOAD(w + ((k - 1) * 3 + kx) * channels);
        t0 = t0 + weight * v[kx];
        t1 = t1 + weight * v[1 + kx];
        t2 = t2 + weight * v[2 + kx];
        t3 = t3 + weight * v[3 + kx];
      }
    }
  }
  STORE(out, ACTIVATE(s0, p, q));
  STORE(out + y_x, ACTIVATE(s1, p, q));
  STORE(out + 2 * y_x, ACTIVATE(s2, p, q));
  STORE(out + 3 * y_x, ACTIVATE(s3, p, q));
  STORE(out + y_y, ACTIVATE(t0, p, q));
  STORE(out + y_y + y_x, ACTIVATE(t1, p, q));
  STORE(out + y_y + 2 * y_x, ACTIVATE(t2, p, q));
  STORE(out + y_y + 3 * y_x, ACTIVATE(t3, p, q));
}
#define DOUBLE(LEFT, RIGHT) \
  for (int c = 0; c < channels; c += SIMD) { \
    const int at = OVERLAPPING(c, SIMD, channels); \
    double_quad(from_here + at, x_y, x_x, w + at, channels, LOAD(b + at), to_here + at, y_y, y_x, from, below, LEFT, RIGHT, \
                p, q); \
  }
#endif

/* Which of the columns read lie in padding, as constants. */
#define AT_BORDERS(DO) \
  if (first_x >= 0 && last_x < width) \
    DO(true, true) \
  else if (first_x >= 0) \
    DO(true, false) \
  else if (last_x < width) \
    DO(false, true) \
  else \
    DO(false, false)

/* All channels of 4 neighbouring outputs. */
#define QUADS(LEFT, RIGHT) \
  for (int c = 0; c < channels; c += SIMD) { \
    const int at = OVERLAPPING(c, SIMD, channels); \
    quad(from_here + at, x_y, x_x, first_tap + at, channels, LOAD(b + at), to_here + at, y_x, to - from, LEFT, RIGHT, p, q); \
  }
#endif

__kernel void depthwise(__global const float *restrict x, __global const float *restrict w,
                        __global const float *restrict b, __global float *restrict y,
                        int x_offset, int x_n, int x_y, int x_x, int height, int width,
                        int y_offset, int y_n, int y_y, int y_x, int rows, int columns, int channels,
                        int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
                        int at_once, float p, float q) {
  const int first = get_global_id(0) * at_once, last = min(first + at_once, rows);
  x += x_offset + (long)get_global_id(2) * x_n;
  y += y_offset + (long)get_global_id(2) * y_n;
  const int pace = step_x * x_x; /* from one output pixel's input to the next one's */

  for (int row = first; row < last; row++) {
    const int in_y = row * step_y + origin_y;
#if QUAD == 1
    if (step_y == 1 && row + 1 < last && channels >= SIMD && columns >= 4 && origin_x >= -1
        && columns + 1 + origin_x <= width) {
      const int from = in_y < 0 ? -in_y : 0, below = height - in_y < 4 ? height - in_y : 4;
      for (int column = 0; column < columns; column += 4) {
        const int start = OVERLAPPING(column, 4, columns);
        const int first_x = start + origin_x, last_x = first_x + ACROSS - 1;
        __global const float *from_here = x + in_y * x_y + first_x * x_x;
        __global float *to_here = y + row * y_y + start * y_x;
        AT_BORDERS(DOUBLE)
      }
      row++;
      continue;
    }
#endif
    /* tap rows inside the map */
    const int from = in_y < 0 ? (-in_y + dilation_y - 1) / dilation_y : 0;
    const int to = min(kh, in_y < height ? (height - 1 - in_y) / dilation_y + 1 : 0);
    for (int column = 0; column < columns; column += 4) {
#if QUAD
      const int start = OVERLAPPING(column, 4, columns);
      const int first_x = start * QUAD + origin_x, last_x = first_x + ACROSS - 1;
      if (channels >= SIMD && start >= 0 && first_x >= -1 && last_x <= width) {
        __global const float *from_here = x + (in_y + from) * x_y + first_x * x_x;
        __global const float *first_tap = w + from * 3 * channels;
        __global float *to_here = y + row * y_y + start * y_x;
        AT_BORDERS(QUADS)
        continue;
      }
#endif
      const int in_x = column * step_x + origin_x, count = min(4, columns - column);
      __global float *out = y + row * y_y + column * y_x;
      const bool inner = count == 4 && in_x >= 0 && in_x + 3 * step_x + (kw - 1) * dilation_x < width;
      if (channels < SIMD) { /* too few for a vector */
        for (int i = 0; i < count; i++)
          for (int c = 0; c < channels; c++) {
            float sum = b[c];
            for (int ky = from; ky < to; ky++)
              for (int kx = 0; kx < kw; kx++) {
                const int at = in_x + i * step_x + kx * dilation_x;
                if (at >= 0 && at < width)
                  sum = sum + x[(in_y + ky * dilation_y) * x_y + at * x_x + c] * w[(ky * kw + kx) * channels + c];
              }
            out[i * y_x + c] = ACTIVATE(sum, p, q);
          }
        continue;
      }
      for (int block = 0; block < channels; block += SIMD) {
        const int c = OVERLAPPING(block, SIMD, channels);
        VEC s0 = LOAD(b + c), s1 = s0, s2 = s0, s3 = s0;
        for (int ky = from; ky < to; ky++) {
          __global const float *in = x + (in_y + ky * dilation_y) * x_y + in_x * x_x + c;
          __global const float *weight = w + ky * kw * channels + c;
          if (inner)
            for (int kx = 0; kx < kw; kx++, in += dilation_x * x_x, weight += channels) {
              const VEC v = LOAD(weight);
              s0 = s0 + v * LOAD(in);
              s1 = s1 + v * LOAD(in + pace);
              s2 = s2 + v * LOAD(in + 2 * pace);
              s3 = s3 + v * LOAD(in + 3 * pace);
            }
          else
            for (int kx = 0; kx < kw; kx++, in += dilation_x * x_x, weight += channels) {
              const VEC v = LOAD(weight);
              const int at = in_x + kx * dilation_x;
              if ((uint)at < (uint)width) s0 = s0 + v * LOAD(in);
              if (count > 1 && (uint)(at + step_x) < (uint)width) s1 = s1 + v * LOAD(in + pace);
              if (count > 2 && (uint)(at + 2 * step_x) < (uint)width) s2 = s2 + v * LOAD(in + 2 * pace);
              if (count > 3 && (uint)(at + 3 * step_x) < (uint)width) s3 = s3 + v * LOAD(in + 3 * pace);
            }
        }
        STORE(out + c, ACTIVATE(s0, p, q));
        if (count > 1) STORE(out + c + y_x, ACTIVATE(s1, p, q));
        if (count > 2) STORE(out + c + 2 * y_x, ACTIVATE(s2, p, q));
        if (count > 3) STORE(out + c + 3 * y_x, ACTIVATE(s3, p, q));
      }
    }
  }
}
