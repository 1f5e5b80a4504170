/* Winograd's transforms F(OUT, TAPS) for GPU devices: one tile and channel a work-item, neighbours along the channels.
   The products between them are conv_tile_gpu.cl with IN * IN groups. Formulas as in winograd.cl.

   x            feature map, channels contiguous; tile (n, r, c) reads IN x IN inputs from row r * OUT + origin_y on
   transformed  [IN * IN][tile][parts of the taps][depth]
   products     [IN * IN][tile][channels]
   y            feature map; `rows` x `columns` outputs are written from y_offset on
   Global sizes: depth * parts * tiles and channels * tiles, rounded up to whole groups. Compile with OUT (2, 3, 4),
   TAPS (3, 4) and, for the output, ACTIVATION and RESIDUAL (see residual.cl). */

#pragma OPENCL FP_CONTRACT ON
#define SIMD 1
#include "activation.cl"
#include "residual.cl"
#include "vector.cl"
#include "winograd_transforms.cl"

__kernel void winograd_input(__global const float *restrict x, __global float *restrict transformed, int x_offset, int x_n,
                             int x_y, int x_x, int height, int width, int tile_rows, int tile_columns, int tiles,
                             int origin_y, int origin_x, int parts_y, int parts_x, int depth) {
  const int channel = get_global_id(0) % depth, part = get_global_id(0) / depth % (parts_y * parts_x);
  const int tile = get_global_id(0) / depth / (parts_y * parts_x);
  if (tile >= tiles)
    return;
  const int c = tile % tile_columns, r = tile / tile_columns % tile_rows, n = tile / tile_columns / tile_rows;
  const int in_y = r * OUT + origin_y + part / parts_x * TAPS, in_x = c * OUT + origin_x + part % parts_x * TAPS;
  float half_way[IN][IN];
  for (int j = 0; j < IN; j++) {
    float d[IN], t[IN];
    for (int i = 0; i < IN; i++)
      d[i] = (uint)(in_y + i) < (uint)height && (uint)(in_x + j) < (uint)width
                 ? x[x_offset + n * x_n + (in_y + i) * x_y + (in_x + j) * x_x + channel] : 0.0f;
    TRANSFORM_INPUT(t, d)
    for (int i = 0; i < IN; i++)
      half_way[i][j] = t[i];
  }
  for (int i = 0; i < IN; i++) {
    float t[IN];
    TRANSFORM_INPUT(t, half_way[i])
    for (int j = 0; j < IN; j++)
      transformed[(((i * IN + j) * tiles + tile) * parts_y * parts_x + part) * depth + channel] = t[j];
  }
}

__kernel void winograd_output(__global const float *restrict products, __global const float *restrict b,
                              __global float *restrict y, int y_offset, int y_n, int y_y, int y_x, int y_c,
                              int rows, int columns, int tile_rows, int tile_columns, int tiles, int channels,
                              float p, float q RESIDUAL_ARGUMENTS) {
  const int channel = get_global_id(0) % channels, tile = get_global_id(0) / channels;
  if (tile >= tiles)
    return;
  const int c = tile % tile_columns, r = tile / tile_columns % tile_rows, n = tile / tile_columns / tile_rows;
  float half_way[OUT][IN];
  for (int j = 0; j < IN; j++) {
    float d[IN], t[OUT];
    for (int i = 0; i < IN; i++)
      d[i] = products[((i * IN + j) * tiles + tile) * channels + channel];
    TRANSFORM_OUTPUT(t, d)
    for (int i = 0; i < OUT; i++)
      half_way[i][j] = t[i];
  }
  for (int i = 0; i < min(OUT, rows - r * OUT); i++) {
    float t[OUT];
    TRANSFORM_OUTPUT(t, half_way[i])
    for (int j = 0; j < OUT; j++)
      if (c * OUT + j < columns)
        y[y_offset + n * y_n + (r * OUT + i) * y_y + (c * OUT + j) * y_x + channel * y_c] =
            TAIL(t[j] + b[channel], z[z_offset + n * z_n + (r * OUT + i) * z_y + (c * OUT + j) * z_x + channel], p, q);
  }
}
