/* Convolution with at most 4 output channels for CPU devices: vectors along the input channels, so that none of their
   lanes is wasted; one work-item a group computes `at_once` rows of one image, PIXELS neighbouring columns at a time.

   x   feature map, channels contiguous; x_offset is row 0, column 0, channel 0 of the first image
   w   [CHANNELS][kh * kw][depth], b [CHANNELS]
   y   feature map, channels y_c apart; y_offset is the first element computed
   Output row r, tap row t reads the input row r * step_y + origin_y + t * dilation_y; outside [0, height) lies padding.
   Global size: (ceil(rows / at_once), 1, images). Compile with SIMD (4, 8, 16), CHANNELS (1 to 4), PIXELS, ACTIVATION. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "vector.cl"

static inline float total(VEC v) {
  float each[SIMD], sum = 0.0f;
  STORE_PRIVATE(each, v);
#pragma unroll
  for (int i = 0; i < SIMD; i++)
    sum += each[i];
  return sum;
}

/* Some neighbouring outputs of tap rows `from` to `to`; `in` is the first one's first tap column in tap row 0. With
   `inner` all tap columns lie in the map, else those at `in_x` and on from there that do. */
static inline void outputs(__global const float *in, int x_y, int x_x, int in_x, int width, __global const float *w,
                           __global const float *b, __global float *out, int y_x, int y_c, int count, int from, int to,
                           int taps, int kw, int step_x, int dilation_x, int depth, bool inner, float p, float q) {
  VEC sums[PIXELS][CHANNELS];
  float rest[PIXELS][CHANNELS]; /* of the channels that fill no vector */
#pragma unroll
  for (int i = 0; i < PIXELS; i++)
#pragma unroll
    for (int o = 0; o < CHANNELS; o++) {
      sums[i][o] = (VEC)(0.0f);
      rest[i][o] = b[o];
    }
  for (int ky = from; ky < to; ky++)
    for (int kx = 0; kx < kw; kx++) {
      __global const float *source = in + ky * x_y + kx * dilation_x * x_x;
      __global const float *weights = w + (ky * kw + kx) * depth;
      bool inside[PIXELS];
#pragma unroll
      for (int i = 0; i < PIXELS; i++)
        inside[i] = inner || (i < count && (uint)(in_x + i * step_x + kx * dilation_x) < (uint)width);
      int c = 0;
      for (; c + SIMD <= depth; c += SIMD) {
        VEC weight[CHANNELS];
#pragma unroll
        for (int o = 0; o < CHANNELS; o++)
          weight[o] = LOAD(weights + o * taps * depth + c);
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
          if (inside[i]) {
            const VEC v = LOAD(source + i * step_x * x_x + c);
#pragma unroll
            for (int o = 0; o < CHANNELS; o++)
              sums[i][o] = sums[i][o] + v * weight[o];
          }
      }
      for (; c < depth; c++)
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
          if (inside[i])
#pragma unroll
            for (int o = 0; o < CHANNELS; o++)
              rest[i][o] = rest[i][o] + source[i * step_x * x_x + c] * weights[o * taps * depth + c];
    }
#pragma unroll
  for (int i = 0; i < PIXELS; i++)
    if (i < count)
#pragma unroll
      for (int o = 0; o < CHANNELS; o++)
        out[i * y_x + o * y_c] = ACTIVATE(rest[i][o] + total(sums[i][o]), p, q);
}

__kernel void narrow(__global const float *restrict x, __global const float *restrict w,
                     __global const float *restrict b, __global float *restrict y,
                     int x_offset, int x_n, int x_y, int x_x, int height, int width,
                     int y_offset, int y_n, int y_y, int y_x, int y_c, int rows, int columns, int depth,
                     int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
                     int at_once, float p, float q) {
  const int first = get_global_id(0) * at_once, last = min(first + at_once, rows);
  x += x_offset + (long)get_global_id(2) * x_n;
  y += y_offset + (long)get_global_id(2) * y_n;

  for (int row = first; row < last; row++) {
    const int in_y = row * step_y + origin_y;
    /* tap rows inside the map */
    const int from = in_y < 0 ? (-in_y + dilation_y - 1) / dilation_y : 0;
    const int to = min(kh, in_y < height ? (height - 1 - in_y) / dilation_y + 1 : 0);
    for (int column = 0; column < columns; column += PIXELS) {
      const int in_x = column * step_x + origin_x, count = min(PIXELS, columns - column);
      __global const float *in = x + in_y * x_y + in_x * x_x;
      __global float *out = y + row * y_y + column * y_x;
      const bool inner = count == PIXELS && in_x >= 0 && in_x + (PIXELS - 1) * step_x + (kw - 1) * dilation_x < width;
      if (inner)
        outputs(in, dilation_y * x_y, x_x, in_x, width, w, b, out, y_x, y_c, count, from, to, kh * kw, kw, step_x,
                dilation_x, depth, true, p, q);
      else
        outputs(in, dilation_y * x_y, x_x, in_x, width, w, b, out, y_x, y_c, count, from, to, kh * kw, kw, step_x,
                dilation_x, depth, false, p, q);
    }
  }
}
