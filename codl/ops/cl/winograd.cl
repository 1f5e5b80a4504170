/* Convolution with stride 1 by Winograd's F(m, r) for CPU devices (Lavin and Gray, "Fast Algorithms for
   Convolutional Neural Networks", 2016; m = OUT, r = TAPS): one work-item a group computes up to MOST tiles of OUT x OUT
   outputs for up to BLOCKS blocks of V = 2 * SIMD channels, so that transformed inputs and sums stay in cache.

     y = A' [ sum_c (G w_c G') * (B' x_c B) ] A         (G w G' is made beforehand, in double precision)

   A kernel of more taps is divided into parts_y x parts_x of r x r, which are added up as channels are.

   x   feature map, channels contiguous; x_offset is row 0, column 0, channel 0 of the first image, x_limit the first
       element not to be read
   u   [parts][chunks of CHUNK of the depth][IN * IN][ceil(channels / V)][depth of the chunk][V] transformed weights, in the order
       in which they are read; b [ceil(channels / V)][V]
   y   feature map; y_offset is the first element computed, channels y_c apart
   Tile (r, c) of a `rows` x `columns` box reads input rows from r * OUT + origin_y on; outside lies padding.
   Global size: (ceil(tiles of all images / tiles), ceil(blocks / blocks_per_item), 1).
   Compile with SIMD (4, 8, 16), PIXELS (6, 14) and LEAST (4) tiles in the largest and the smallest register tile, OUT (2, 3,
   4), TAPS (3, 4), MOST (a multiple of PIXELS), BLOCKS, CHUNK, ACTIVATION, RESIDUAL (see residual.cl). Loops over arrays of vectors
   are unrolled by request: the arrays would not become registers otherwise. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "residual.cl"
#include "vector.cl"
#include "register_tile.cl"
#include "winograd_transforms.cl"

#define ROW (CHUNK + 16)
/* The distance of transformed inputs and of sums from one of the IN * IN points to the next: an odd number of cache
   lines, since a transform touches all points together and they must not share cache sets. */
#define INPUTS_APART (MOST * ROW + 16)
#define SUMS_APART (MOST * 2 + (SIMD == 16 ? 1 : SIMD == 8 ? 2 : 4))

/* Products of a register tile of N tiles, and how many that is for n of them: a last one's surplus is never used. */
#define PRODUCTS(N) \
  case N: { \
    EACH_##N(DECLARE) \
    if (first) { \
      const VEC low = (VEC)(0.0f), high = low; \
      EACH_##N(START) \
    } else { \
      EACH_##N(RESUME) \
    } \
    STREAMED(N, length) \
    EACH_##N(KEEP) \
    break; \
  }
#if PIXELS == 6
#define SIZES(DO) DO(4) DO(5) DO(6)
#define LARGE_ENOUGH(n) max(n, LEAST)
#else
#define SIZES(DO) DO(4) DO(6) DO(8) DO(10) DO(12) DO(14)
#define LARGE_ENOUGH(n) max((n + 1) / 2 * 2, LEAST)
#endif

/* B' x B of one tile and vector of channels: columns first, then rows. */
#define TRANSFORM_TILE(FROM) { \
  VEC half_way[IN][IN]; \
  _Pragma("unroll") \
  for (int j = 0; j < IN; j++) { \
    VEC d[IN], t[IN]; \
    _Pragma("unroll") \
    for (int i = 0; i < IN; i++) \
      d[i] = FROM(i, j); \
    TRANSFORM_INPUT(t, d) \
    _Pragma("unroll") \
    for (int i = 0; i < IN; i++) \
      half_way[i][j] = t[i]; \
  } \
  _Pragma("unroll") \
  for (int i = 0; i < IN; i++) { \
    VEC t[IN]; \
    TRANSFORM_INPUT(t, half_way[i]) \
    _Pragma("unroll") \
    for (int j = 0; j < IN; j++) \
      STORE_PRIVATE(target + (i * IN + j) * INPUTS_APART, t[j]); \
  } \
}

__kernel void winograd(__global const float *restrict x, __global const float *restrict u,
                       __global const float *restrict b, __global float *restrict y,
                       int x_offset, int x_limit, int x_n, int x_y, int x_x, int height, int width,
                       int y_offset, int y_n, int y_y, int y_x, int y_c, int rows, int columns, int images,
                       int origin_y, int origin_x, int parts_y, int parts_x, int depth, int channels, int tiles,
                       int blocks_per_item, float p, float q RESIDUAL_ARGUMENTS) {
  float transformed[IN * IN * INPUTS_APART] __attribute__((aligned(64)));
  VEC sums[BLOCKS * IN * IN * SUMS_APART];
  int in_y[MOST], in_x[MOST], from[MOST], to[MOST];
  WITH_RESIDUAL(int added[MOST];)

  const int blocks = (channels + V - 1) / V;
  const int first_block = get_global_id(1) * blocks_per_item;
  const int used_blocks = min(blocks_per_item, blocks - first_block);
  const int tile_rows = (rows + OUT - 1) / OUT, tile_columns = (columns + OUT - 1) / OUT;
  const int first_tile = get_global_id(0) * tiles;
  const int count = min(tiles, images * tile_rows * tile_columns - first_tile);
  const int register_tiles = (count + PIXELS - 1) / PIXELS;
  const int size = LARGE_ENOUGH((count + register_tiles - 1) / register_tiles);

  for (int m = 0; m < count; m++) {
    const int c = (first_tile + m) % tile_columns, r = (first_tile + m) / tile_columns % tile_rows;
    const int n = (first_tile + m) / tile_columns / tile_rows;
    in_y[m] = r * OUT + origin_y;
    in_x[m] = c * OUT + origin_x;
    from[m] = x_offset + n * x_n + in_y[m] * x_y + in_x[m] * x_x;
    to[m] = y_offset + n * y_n + r * OUT * y_y + c * OUT * y_x;
    WITH_RESIDUAL(added[m] = z_offset + n * z_n + r * OUT * z_y + c * OUT * z_x;)
  }

  for (int part = 0; part < parts_y * parts_x; part++) {
    const int down = part / parts_x * TAPS, right = part % parts_x * TAPS;
    for (int c0 = 0; c0 < depth; c0 += CHUNK) {
      const int length = min(CHUNK, depth - c0);
      const bool first = part == 0 && c0 == 0;
      for (int m = 0; m < count; m++) {
        const int row = in_y[m] + down, column = in_x[m] + right, begin = from[m] + down * x_y + right * x_x + c0;
        const bool inner = row >= 0 && column >= 0 && row + IN <= height && column + IN <= width
                           && begin + (IN - 1) * (x_y + x_x) + length + SIMD <= x_limit;
        __global const float *source = x + begin;
        for (int c = 0; c < length; c += SIMD) {
          float *target = transformed + m * ROW + c;
          if (inner) {
#define INPUT(i, j) LOAD(source + c + i * x_y + j * x_x)
            TRANSFORM_TILE(INPUT)
          } else {
            VEC padded[IN * IN];
            for (int i = 0; i < IN; i++)
              for (int j = 0; j < IN; j++)
                padded[i * IN + j] = (uint)(row + i) < (uint)height && (uint)(column + j) < (uint)width
                                     ? channels_at(x, begin + i * x_y + j * x_x + c, length - c, x_limit) : (VEC)(0.0f);
#define PADDED(i, j) padded[i * IN + j]
            TRANSFORM_TILE(PADDED)
          }
        }
      }
      for (int xi = 0; xi < IN * IN; xi++)
        for (int block = 0; block < used_blocks; block++) {
          const bool more = block + 1 < used_blocks;
          __global const float *panel =
              u + ((((long)part * depth + c0) * IN * IN + (long)xi * length) * blocks + (first_block + block) * length) * V;
          /* What is read next, asked for little by little: from here the processor would not guess it in time. */
          __global const float *soon = panel + (more ? 1 : blocks - used_blocks + 1) * length * V;
          const int pace = (V + register_tiles - 1) / register_tiles;
          for (int tile = 0; tile < count; tile += size) {
            __global const float *now = panel;
            const float *a = transformed + xi * INPUTS_APART + tile * ROW;
            const int apart = ROW;
            VEC *kept = sums + (block * IN * IN + xi) * SUMS_APART + tile * 2;
            switch (min(size, LARGE_ENOUGH(count - tile))) { SIZES(PRODUCTS) }
          }
        }
    }
  }

  for (int block = 0; block < used_blocks; block++) {
    const int channel = (first_block + block) * V;
    for (int m = 0; m < count; m++) {
      const int high = min(OUT, rows - (in_y[m] - origin_y)), wide = min(OUT, columns - (in_x[m] - origin_x));
      VEC results[2][OUT][OUT];
      for (int side = 0; side < 2; side++) {
        const VEC bias = LOAD(b + channel + side * SIMD);
        VEC half_way[OUT][IN];
#pragma unroll
        for (int j = 0; j < IN; j++) {
          VEC d[IN], t[OUT];
#pragma unroll
          for (int i = 0; i < IN; i++)
            d[i] = sums[(block * IN * IN + i * IN + j) * SUMS_APART + m * 2 + side];
          TRANSFORM_OUTPUT(t, d)
#pragma unroll
          for (int i = 0; i < OUT; i++)
            half_way[i][j] = t[i];
        }
#pragma unroll
        for (int i = 0; i < OUT; i++) {
          VEC t[OUT];
          TRANSFORM_OUTPUT(t, half_way[i])
#pragma unroll
          for (int j = 0; j < OUT; j++)
#if RESIDUAL
            results[side][i][j] = t[j] + bias;
#else
            results[side][i][j] = ACTIVATE(t[j] + bias, p, q);
#endif
        }
      }
      for (int i = 0; i < high; i++)
        for (int j = 0; j < wide; j++) {
#if RESIDUAL
          VEC low, high;
          take(z + added[m] + i * z_y + j * z_x + channel, channels - channel, &low, &high);
          results[0][i][j] = TAIL(results[0][i][j], low, p, q);
          results[1][i][j] = TAIL(results[1][i][j], high, p, q);
#endif
          put(y, to[m] + i * y_y + j * y_x + channel * y_c, y_c, channels - channel, results[0][i][j], results[1][i][j]);
        }
    }
  }
}
