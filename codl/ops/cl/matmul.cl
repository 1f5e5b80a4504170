/* Matrix products of a batch: out[z] (rows x columns) = a[z] (rows x depth) times b[z] (depth x columns).
   Batch z = z1 * n0 + z0 is at X_at + z0 * X_0 + z1 * X_1; element (i, j) of out at i * o_row + j, (i, k) of a at
   i * a_row + k * a_k, (k, j) of b at k * b_row + j.

   -DCPU=1  a work-item computes a tile of TILE rows x 2 vectors of LANES columns; global id (column tile, row tile, z).
            The last tiles overlap those before them. Fewer columns than a vector: one by one.
   -DCPU=0  a group of SIDE x SIDE work-items computes as many elements, SIDE products of each sum at a time; global id
            (column, row, z), possibly too large */

#pragma OPENCL FP_CONTRACT ON

#define ARGUMENTS \
    __global float *restrict out, __global const float *restrict a, __global const float *restrict b, int o_at, int a_at, \
    int b_at, int rows, int columns, int depth, int n0, int o_0, int o_1, int a_0, int a_1, int b_0, int b_1, int o_row, \
    int a_row, int a_k, int b_row
#define MOVE_TO_BATCH(z)                              \
    out += o_at + (z) % n0 * o_0 + (z) / n0 * o_1;    \
    a += a_at + (z) % n0 * a_0 + (z) / n0 * a_1;      \
    b += b_at + (z) % n0 * b_0 + (z) / n0 * b_1;

#if CPU
#include "lanes.cl"

__kernel void matmul(ARGUMENTS)
{
    MOVE_TO_BATCH(get_global_id(2));
    int first = get_global_id(1) * TILE, left = get_global_id(0) * 2 * LANES;
    if (columns < LANES) {
        for (int i = first; i < min(first + TILE, rows); ++i)
            for (int j = 0; j < columns; ++j) {
                float sum = 0.0f;
                for (int k = 0; k < depth; ++k)
                    sum += a[i * a_row + k * a_k] * b[k * b_row + j];
                out[i * o_row + j] = sum;
            }
        return;
    }
    int j0 = min(left, columns - LANES), j1 = min(left + LANES, columns - LANES);
    int row[TILE];
    for (int i = 0; i < TILE; ++i)
        row[i] = min(first + i, rows - 1);
    lanes_t sum0[TILE], sum1[TILE];
    for (int i = 0; i < TILE; ++i)
        sum0[i] = sum1[i] = 0.0f;
    for (int k = 0; k < depth; ++k) {
        lanes_t b0 = LOAD(b + k * b_row + j0), b1 = LOAD(b + k * b_row + j1);
        for (int i = 0; i < TILE; ++i) {
            float value = a[row[i] * a_row + k * a_k];
            sum0[i] += value * b0;
            sum1[i] += value * b1;
        }
    }
    for (int i = 0; i < TILE; ++i) {
        STORE(out + row[i] * o_row + j0, sum0[i]);
        STORE(out + row[i] * o_row + j1, sum1[i]);
    }
}

#else

__kernel void matmul(ARGUMENTS)
{
    __local float a_part[SIDE][SIDE], b_part[SIDE][SIDE];
    MOVE_TO_BATCH(get_global_id(2));
    int j = get_global_id(0), i = get_global_id(1), x = get_local_id(0), y = get_local_id(1);
    float sum = 0.0f;
    for (int first = 0; first < depth; first += SIDE) {
        a_part[y][x] = i < rows && first + x < depth ? a[i * a_row + (first + x) * a_k] : 0.0f;
        b_part[y][x] = j < columns && first + y < depth ? b[(first + y) * b_row + j] : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE); /* both parts are read by the whole group */
        for (int k = 0; k < SIDE; ++k)
            sum += a_part[y][k] * b_part[k][x];
        barrier(CLK_LOCAL_MEM_FENCE); /* before they are overwritten */
    }
    if (i < rows && j < columns)
        out[i * o_row + j] = sum;
}

#endif
