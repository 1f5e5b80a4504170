/* Winograd's transforms for 3 taps and OUT outputs, along one column or row of VECs: TRANSFORM_INPUT is B' of IN inputs,
   TRANSFORM_OUTPUT is A' of IN sums. Points 0, 1, -1 and, for OUT = 4, 2, -2; and infinity. */

#define IN (OUT + 2)

#if OUT == 2
#define TRANSFORM_INPUT(t, d) \
  t[0] = d[0] - d[2]; t[1] = d[1] + d[2]; t[2] = d[2] - d[1]; t[3] = d[1] - d[3];
#define TRANSFORM_OUTPUT(t, d) \
  t[0] = d[0] + d[1] + d[2]; t[1] = d[1] - d[2] - d[3];
#elif OUT == 4
#define TRANSFORM_INPUT(t, d) { \
  const VEC even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1], near = d[4] - d[2], far = 2.0f * (d[3] - d[1]); \
  t[0] = 4.0f * d[0] - 5.0f * d[2] + d[4]; t[1] = even + odd; t[2] = even - odd; t[3] = near + far; t[4] = near - far; \
  t[5] = 4.0f * d[1] - 5.0f * d[3] + d[5]; }
#define TRANSFORM_OUTPUT(t, d) { \
  const VEC a = d[1] + d[2], s = d[1] - d[2], e = d[3] + d[4], f = d[3] - d[4]; \
  t[0] = d[0] + a + e; t[1] = s + 2.0f * f; t[2] = a + 4.0f * e; t[3] = s + 8.0f * f + d[5]; }
#endif
