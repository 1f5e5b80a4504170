/* Pooling for CPU devices: one work-item a group computes `at_once` rows of one image for one range of channels.

   x   feature map, channels contiguous; x_offset is row 0, column 0 of the first image and channel computed
   y   feature map, channels contiguous; y_offset is the first element computed
   Output row r, tap row t reads the input row r * step_y + origin_y + t * dilation_y; outside [0, height) lies padding,
   which takes no part. An average is divided by the number of taps inside the map or, with COUNT_PADDING, inside
   the padded map [-pad_top, height + pad_bottom) x [-pad_left, width + pad_right).
   Global size: (ceil(rows / at_once), ceil(channels / channels_at_once), images).
   Compile with SIMD (4, 8, 16), AVERAGE (0: maximum, 1: average), COUNT_PADDING. */

#include "vector.cl"

#if AVERAGE
#define START 0.0f
#define TAKE(kept, v) ((kept) + (v))
#else
#define START (-INFINITY)
/* `kept` where v is NaN, as fmax(), which would be a call. */
#define TAKE(kept, v) ((v) > (kept) ? (v) : (kept))
#endif

/* First tap at or after `low`, and number of taps before `high`, of taps at in, in + dilation, ... */
static inline int first_tap(int in, int dilation, int low) {
  return in < low ? (low - in + dilation - 1) / dilation : 0;
}
static inline int taps_before(int in, int dilation, int high, int taps) {
  return in < high ? min(taps, (high - 1 - in) / dilation + 1) : 0;
}

__kernel void pool(__global const float *restrict x, __global float *restrict y,
                   int x_offset, int x_n, int x_y, int x_x, int height, int width,
                   int y_offset, int y_n, int y_y, int y_x, int rows, int columns, int channels,
                   int kh, int kw, int step_y, int step_x, int origin_y, int origin_x, int dilation_y, int dilation_x,
                   int pad_top, int pad_left, int pad_bottom, int pad_right, int at_once, int channels_at_once) {
  const int first = get_global_id(0) * at_once, last = min(first + at_once, rows);
  const int c_first = get_global_id(1) * channels_at_once, c_last = min(c_first + channels_at_once, channels);
  x += x_offset + (long)get_global_id(2) * x_n;
  y += y_offset + (long)get_global_id(2) * y_n;

  for (int row = first; row < last; row++) {
    const int in_y = row * step_y + origin_y;
    const int y0 = first_tap(in_y, dilation_y, 0), y1 = taps_before(in_y, dilation_y, height, kh);
    const int high = COUNT_PADDING ? taps_before(in_y, dilation_y, height + pad_bottom, kh)
                                         - first_tap(in_y, dilation_y, -pad_top) : y1 - y0;
    for (int column = 0; column < columns; column++) {
      const int in_x = column * step_x + origin_x;
      const int x0 = first_tap(in_x, dilation_x, 0), x1 = taps_before(in_x, dilation_x, width, kw);
      const int wide = COUNT_PADDING ? taps_before(in_x, dilation_x, width + pad_right, kw)
                                           - first_tap(in_x, dilation_x, -pad_left) : x1 - x0;
      const float factor = AVERAGE ? 1.0f / (float)(high * wide) : 1.0f;
      __global float *out = y + row * y_y + column * y_x;
      __global const float *in = x + (in_y + y0 * dilation_y) * x_y + (in_x + x0 * dilation_x) * x_x;
      const int next_x = dilation_x * x_x, next_y = dilation_y * x_y;
      const int soon = 2 * step_x * x_x;  /* where a range of channels is read, the processor does not foresee it */
      int c = c_first;
      for (; c + 2 * SIMD <= c_last; c += 2 * SIMD) {
        VEC low = (VEC)(START), up = low;
        for (int ky = 0; ky < y1 - y0; ky++)
          for (int kx = 0; kx < x1 - x0; kx++) {
            SOON(in + ky * next_y + kx * next_x + c + soon);
            low = TAKE(low, LOAD(in + ky * next_y + kx * next_x + c));
            up = TAKE(up, LOAD(in + ky * next_y + kx * next_x + c + SIMD));
          }
        STORE(out + c, low * factor);
        STORE(out + c + SIMD, up * factor);
      }
      for (; c < c_last; c++) {
        float kept = START;
        for (int ky = 0; ky < y1 - y0; ky++)
          for (int kx = 0; kx < x1 - x0; kx++)
            kept = TAKE(kept, in[ky * next_y + kx * next_x + c]);
        out[c] = kept * factor;
      }
    }
  }
}
