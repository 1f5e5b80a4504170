/* Element by element from images to an image: y = ACTIVATE(a BINARY b), one pixel of 4 channels a work-item.

   a, b  images (image.cl) or, with A_IMAGE or B_IMAGE 0, constants in a buffer as an image of a_pitch texels a row holds
         them. Of an axis along which they are broadcast, a_n, a_block, a_row or a_column is 0, else 1; where that is
         the channels', all four numbers of a texel are the same one (A_SPREAD: its first).
   BINARY as in combine.cl; the box computed as in image_conv.cl.
   Global size: (columns, blocks, images * rows). Compile with BINARY, ACTIVATION, A_IMAGE, A_SPREAD, B_IMAGE, B_SPREAD. */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "combine.cl"
#include "image.cl"

#define PLACE(map) \
  TEXEL(map, n * map##_n, block * map##_block, row * map##_row, column * map##_column)

#if A_IMAGE
#define A_TYPE __read_only image2d_t
#define READ_A read_imagef(a, EXACT, PLACE(a))
#else
#define A_TYPE __global const float4 *restrict
#define READ_A a[PLACE(a).y * a_pitch + PLACE(a).x]
#endif
#if B_IMAGE
#define B_TYPE __read_only image2d_t
#define READ_B read_imagef(b, EXACT, PLACE(b))
#else
#define B_TYPE __global const float4 *restrict
#define READ_B b[PLACE(b).y * b_pitch + PLACE(b).x]
#endif

__kernel void image_map(__write_only image2d_t y, A_TYPE a, WITH_B(B_TYPE b,)
                        int y_x, int y_y, int y_columns, int y_rows,
                        int n0, int block0, int row0, int column0, int rows, int channels,
                        int a_x, int a_y, int a_columns, int a_rows, int a_pitch,
                        int a_n, int a_block, int a_row, int a_column,
                        WITH_B(int b_x, int b_y, int b_columns, int b_rows, int b_pitch,)
                        WITH_B(int b_n, int b_block, int b_row, int b_column,)
                        float p, float q) {
  const int column = column0 + get_global_id(0), block = block0 + get_global_id(1);
  const int row = row0 + get_global_id(2) % rows, n = n0 + get_global_id(2) / rows;
  float4 u = READ_A;
#if A_SPREAD
  u = u.xxxx;
#endif
#if BINARY
  float4 v = READ_B;
#if B_SPREAD
  v = v.xxxx;
#endif
  u = COMBINE(u, v);
#endif
  write_imagef(y, TEXEL(y, n, block, row, column), within(ACTIVATE(u, p, q), 4 * block, channels));
}
