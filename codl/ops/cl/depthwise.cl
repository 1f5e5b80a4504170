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
#include "vector.cl"

#if QUAD
#define ACROSS (3 * QUAD + 3) /* columns that 4 neighbouring outputs read */

/* 4 neighbouring outputs, all channels, of the tap rows from `from` to `to`. `in` is tap row 0 of the first of the
   columns read, of which the first and the last may lie in padding: `left`, `right` say that they do not. */
static inline void quad(__global const float *in, int x_y, int x_x, __global const float *w, __global const float *b,
                        __global float *out, int y_x, int channels, int from, int to, bool left, bool right,
                        float p, float q) {
  for (int block = 0; block < channels; block += SIMD) {
    const int c = min(block, channels - SIMD); /* the last vector may overlap the one before */
    VEC s[4];
    s[0] = s[1] = s[2] = s[3] = LOAD(b + c);
#pragma unroll
    for (int ky = 0; ky < 3; ky++) {
      if (ky < from || ky >= to)
        continue;
      VEC v[ACROSS], weight[3];
#pragma unroll
      for (int i = 0; i < ACROSS; i++)
        v[i] = (i > 0 || left) && (i < ACROSS - 1 || right) ? LOAD(in + ky * x_y + i * x_x + c) : (VEC)(0.0f);
#pragma unroll
      for (int kx = 0; kx < 3; kx++)
        weight[kx] = LOAD(w + (ky * 3 + kx) * channels + c);
#pragma unroll
      for (int kx = 0; kx < 3; kx++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          s[i] = s[i] + weight[kx] * v[i * QUAD + kx];
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      STORE(out + i * y_x + c, ACTIVATE(s[i], p, q));
  }
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
    /* tap rows inside the map */
    const int from = in_y < 0 ? (-in_y + dilation_y - 1) / dilation_y : 0;
    const int to = min(kh, in_y < height ? (height - 1 - in_y) / dilation_y + 1 : 0);
    for (int column = 0; column < columns; column += 4) {
#if QUAD
      const int start = min(column, columns - 4); /* the last 4 may overlap those before */
      const int first_x = start * QUAD + origin_x, last_x = first_x + ACROSS - 1;
      if (channels >= SIMD && start >= 0 && first_x >= -1 && last_x <= width) {
        __global const float *from_here = x + in_y * x_y + first_x * x_x;
        __global float *to_here = y + row * y_y + start * y_x;
        if (first_x >= 0 && last_x < width)
          quad(from_here, x_y, x_x, w, b, to_here, y_x, channels, from, to, true, true, p, q);
        else if (first_x >= 0)
          quad(from_here, x_y, x_x, w, b, to_here, y_x, channels, from, to, true, false, p, q);
        else if (last_x < width)
          quad(from_here, x_y, x_x, w, b, to_here, y_x, channels, from, to, false, true, p, q);
        else
          quad(from_here, x_y, x_x, w, b, to_here, y_x, channels, from, to, false, false, p, q);
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
        const int c = min(block, channels - SIMD); /* the last vector may overlap the one before */
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
