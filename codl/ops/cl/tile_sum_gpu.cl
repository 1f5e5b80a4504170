/* Adds the partial sums of conv_tile_gpu.cl, the bias and the activation; one output a work-item.

   sums [part][group][pixel][channel]; b [group][padded channels]; y strided as in conv_tile_gpu.cl.
   Global size: groups * pixels * channels, rounded up to whole groups. Compile with ACTIVATION and RESIDUAL (see
   residual.cl). */

#include "activation.cl"
#include "residual.cl"

__kernel void tile_sum_gpu(__global const float *restrict sums, __global const float *restrict b,
                           __global float *restrict y, int y_offset, int y_n, int y_y, int y_x, int y_c, int y_group,
                           int rows, int columns, int pixels, int groups, int channels, int padded, int parts,
                           float p, float q RESIDUAL_ARGUMENTS) {
  const int id = get_global_id(0), all = groups * pixels * channels;
  if (id >= all)
    return;
  const int c = id % channels, pixel = id / channels % pixels, group = id / channels / pixels;
  float sum = b[group * padded + c];
  for (int part = 0; part < parts; part++)
    sum += sums[part * all + id];
  WITH_RESIDUAL(const float added = z[z_offset + group * y_group + pixel / columns / rows * z_n
                                      + pixel / columns % rows * z_y + pixel % columns * z_x + c];)
  y[y_offset + group * y_group + pixel / columns / rows * y_n + pixel / columns % rows * y_y + pixel % columns * y_x
    + c * y_c] = TAIL(sum, added, p, q);
}
