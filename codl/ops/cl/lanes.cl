/* Vectors of LANES floats (4, 8 or 16) that lie anywhere in memory, or whose elements lie `step` apart. */

#if LANES == 16
typedef float16 lanes_t;
#elif LANES == 8
typedef float8 lanes_t;
#else
typedef float4 lanes_t;
#endif
typedef lanes_t packed_t __attribute__((aligned(4)));

#define LOAD(at) (*(__global const packed_t *)(at))
#define STORE(at, v) (*(__global packed_t *)(at) = (v))

lanes_t gather(__global const float *at, int step)
{
    if (step == 1)
        return LOAD(at);
    float lanes[LANES];
    for (int k = 0; k < LANES; ++k)
        lanes[k] = at[k * step];
    return *(__private const packed_t *)lanes;
}

void scatter(__global float *at, int step, lanes_t value)
{
    if (step == 1) {
        STORE(at, value);
        return;
    }
    float lanes[LANES];
    *(__private packed_t *)lanes = value;
    for (int k = 0; k < LANES; ++k)
        at[k * step] = lanes[k];
}

float sum_of(lanes_t value)
{
    float lanes[LANES], sum = 0.0f;
    *(__private packed_t *)lanes = value;
    for (int k = 0; k < LANES; ++k)
        sum += lanes[k];
    return sum;
}
