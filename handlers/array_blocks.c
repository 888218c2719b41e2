/* array_blocks.c: converts between the dtypes of arrays and 64 bits, and scales. It runs in workers.
 *
 * Each loop is a plain one, which the compiler vectorises; memcpy stands for loads and stores at any address. */
#include "handlers/array_blocks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/vectorised.h"

#define COPIES "default", "arch=x86-64-v3"

/* ---- float16 ----------------------------------------------------------------------------------------------------- */

/* IEEE 754 binary16 has a sign, 5 bits of exponent and 10 of mantissa. */
static inline float half_to_float(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f; /* the bias of the exponent is 127 instead of 15; denormals become normal */
    memcpy(&bits, &value, sizeof bits);
    bits |= sign | ((half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Rounds to nearest, ties to even. */
static inline uint16_t float_to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff)); /* NaN */
    if (bits >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* 65520 and more round to infinity */
    if (bits < 0x38800000) { /* below 2^-14: the sum has the denormal in its lowest bits, rounded by the addition */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1); /* rounds */
    return (uint16_t)(sign | ((bits - (UINT32_C(112) << 23)) >> 13));
}

/* ---- the dtypes -------------------------------------------------------------------------------------------------- */

static inline float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline double bits_to_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint64_t double_to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline uint8_t swap8(uint8_t bits) {
    return bits;
}
static inline uint16_t swap16(uint16_t bits) {
    return __builtin_bswap16(bits);
}
static inline uint32_t swap32(uint32_t bits) {
    return __builtin_bswap32(bits);
}
static inline uint64_t swap64(uint64_t bits) {
    return __builtin_bswap64(bits);
}

/* Reads number i, and puts its bytes in this machine's order. */
#define GET(width, from, i, swapped, bits)                                                                             \
    uint##width##_t bits;                                                                                              \
    memcpy(&bits, (const char *)(from) + (i) * sizeof bits, sizeof bits);                                              \
    bits = (swapped) ? swap##width(bits) : bits
#define PUT(width, to, i, swapped, value)                                                                              \
    do {                                                                                                               \
        uint##width##_t out_ = (uint##width##_t)(value);                                                               \
        out_ = (swapped) ? swap##width(out_) : out_;                                                                   \
        memcpy((char *)(to) + (i) * sizeof out_, &out_, sizeof out_);                                                  \
    } while (0)

#define FOR_EACH for (size_t i = 0; i < count; i++)

#define LOADER(name, width, wide, convert)                                                                             \
    VECTORISED(COPIES) static void load_##name(bool swapped, const void *from, size_t count, void *to) {               \
        wide *out = to;                                                                                                \
        if (swapped) {                                                                                                 \
            FOR_EACH {                                                                                                 \
                GET(width, from, i, true, bits);                                                                       \
                out[i] = convert;                                                                                      \
            }                                                                                                          \
        } else {                                                                                                       \
            FOR_EACH {                                                                                                 \
                GET(width, from, i, false, bits);                                                                      \
                out[i] = convert;                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
LOADER(bool, 8, int64_t, bits != 0)
LOADER(i8, 8, int64_t, (int8_t)bits)
LOADER(i16, 16, int64_t, (int16_t)bits)
LOADER(i32, 32, int64_t, (int32_t)bits)
LOADER(i64, 64, int64_t, (int64_t)bits)
LOADER(u8, 8, int64_t, bits)
LOADER(u16, 16, int64_t, bits)
LOADER(u32, 32, int64_t, bits)
LOADER(f16, 16, double, (double)half_to_float(bits))
LOADER(f32, 32, double, (double)bits_to_float(bits))
LOADER(f64, 64, double, bits_to_double(bits))

/* factor: an int64_t for integers, else a double that is a value of the dtype. */
#define SCALER(name, width, kind, product)                                                                             \
    VECTORISED(COPIES)                                                                                                 \
    static void scale_##name(bool swapped, const void *from, size_t count, kind factor, void *to) {                    \
        if (swapped) {                                                                                                 \
            FOR_EACH {                                                                                                 \
                GET(width, from, i, true, bits);                                                                       \
                PUT(width, to, i, true, product);                                                                      \
            }                                                                                                          \
        } else {                                                                                                       \
            FOR_EACH {                                                                                                 \
                GET(width, from, i, false, bits);                                                                      \
                PUT(width, to, i, false, product);                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }
/* The lower bits of a product are the same for signed and unsigned factors. */
SCALER(8, 8, uint64_t, bits *factor)
SCALER(16, 16, uint64_t, bits *factor)
SCALER(32, 32, uint64_t, bits *factor)
SCALER(64, 64, uint64_t, bits *factor)
SCALER(f16, 16, float, float_to_half(half_to_float(bits) * factor))
SCALER(f32, 32, float, float_to_bits(bits_to_float(bits) * factor))
SCALER(f64, 64, double, double_to_bits(bits_to_double(bits) * factor))

static void (*const loaders[NPY_DTYPES])(bool swapped, const void *from, size_t count, void *to) = {
    [NPY_BOOL] = load_bool, [NPY_I8] = load_i8,   [NPY_I16] = load_i16, [NPY_I32] = load_i32,
    [NPY_I64] = load_i64,   [NPY_U8] = load_u8,   [NPY_U16] = load_u16, [NPY_U32] = load_u32,
    [NPY_U64] = load_i64,   [NPY_F16] = load_f16, [NPY_F32] = load_f32, [NPY_F64] = load_f64};

enum family block_family(enum npy_dtype dtype) {
    return dtype >= NPY_F16 ? FAMILY_REAL : dtype >= NPY_I8 && dtype <= NPY_I64 ? FAMILY_SIGNED : FAMILY_UNSIGNED;
}

void block_load(enum npy_dtype dtype, bool swapped, const void *from, size_t count, void *to) {
    loaders[dtype](swapped, from, count, to);
}

void block_store(enum npy_dtype dtype, union value value, void *to) {
    switch (dtype) {
    case NPY_F16: PUT(16, to, 0, false, float_to_half((float)value.real)); break;
    case NPY_F32: PUT(32, to, 0, false, float_to_bits((float)value.real)); break;
    case NPY_F64: PUT(64, to, 0, false, double_to_bits(value.real)); break;
    default:
        switch (npy_size(dtype)) {
        case 1: PUT(8, to, 0, false, value.integer); break;
        case 2: PUT(16, to, 0, false, value.integer); break;
        case 4: PUT(32, to, 0, false, value.integer); break;
        default: PUT(64, to, 0, false, value.integer);
        }
    }
}

/* ---- scale ------------------------------------------------------------------------------------------------------- */

#define MAX_DIGITS 400 /* of a factor in a string: no finite real has more before its point */

#define FAIL(...) (snprintf(error, NPY_MAX_ERROR, __VA_ARGS__), -1)

/* Rounds a double to a half directly, for by way of a float it would be rounded twice. */
static double round_to_half(double value) {
    double magnitude = fabs(value);
    int exponent;
    if (magnitude == 0 || !isfinite(value))
        return value;
    frexp(magnitude, &exponent);
    double unit = ldexp(1, exponent > -13 ? exponent - 11 : -24);
    magnitude = nearbyint(magnitude / unit) * unit; /* both are exact, for the unit is a power of two */
    return copysign(magnitude > 65504 ? INFINITY : magnitude, value);
}

static int read_integer_factor(enum npy_dtype dtype, const char *json, struct factor *out, char *error) {
    bool is_signed = block_family(dtype) == FAMILY_SIGNED;
    unsigned bits = (unsigned)(8 * npy_size(dtype));
    char *end;
    errno = 0;
    if (strspn(json, "-0123456789") == strlen(json)) {
        if (is_signed) {
            int64_t value = strtoll(json, &end, 10), most = (int64_t)(UINT64_MAX >> (65 - bits));
            if (errno != 0 || value > most || value < -most - 1)
                return FAIL("is beyond %s, the dtype of the array", npy_name(dtype));
            out->value.integer = value;
        } else {
            uint64_t value = json[0] == '-' ? UINT64_MAX : strtoull(json, &end, 10);
            if (strcmp(json, "-0") == 0)
                value = 0;
            if (errno != 0 || value > UINT64_MAX >> (64 - bits) || (json[0] == '-' && value != 0))
                return FAIL("is beyond %s, the dtype of the array", npy_name(dtype));
            out->value.integer = (int64_t)value;
        }
        return 0;
    }
    double real = strtod(json, &end);
    if (real != floor(real))
        return FAIL("must be an integer, for the array is one of %s", npy_name(dtype));
    double most = is_signed ? ldexp(1, (int)bits - 1) : ldexp(1, (int)bits), least = is_signed ? -most : 0;
    if (!(real >= least && real < most))
        return FAIL("is beyond %s, the dtype of the array", npy_name(dtype));
    out->value.integer = is_signed ? (int64_t)real : (int64_t)(uint64_t)real;
    return 0;
}

int block_read_factor(enum npy_dtype dtype, const char *json, struct factor *out, char *error) {
    char digits[MAX_DIGITS + 1];
    if (json[0] == '"') {
        size_t sign = json[1] == '-', size = strspn(json + 1 + sign, "0123456789") + sign;
        if (size == sign || size > MAX_DIGITS || json[1 + size] != '"')
            return FAIL("must be a number, or an integer as a string of at most %d digits", MAX_DIGITS);
        memcpy(digits, json + 1, size);
        digits[size] = '\0';
        json = digits;
    }
    if (dtype == NPY_BOOL)
        return FAIL("has nothing to scale in an array of bool");
    if (block_family(dtype) != FAMILY_REAL)
        return read_integer_factor(dtype, json, out, error);
    double real = strtod(json, NULL);
    out->value.real = dtype == NPY_F16 ? round_to_half(real) : dtype == NPY_F32 ? (double)(float)real : real;
    if (!isfinite(out->value.real))
        return FAIL("is beyond %s, the dtype of the array", npy_name(dtype));
    return 0;
}

void block_scale(enum npy_dtype dtype, bool swapped, const void *from, size_t count, struct factor factor, void *to) {
    uint64_t integer = (uint64_t)factor.value.integer;
    switch (dtype) {
    case NPY_F16: scale_f16(swapped, from, count, (float)factor.value.real, to); return;
    case NPY_F32: scale_f32(swapped, from, count, (float)factor.value.real, to); return;
    case NPY_F64: scale_f64(swapped, from, count, factor.value.real, to); return;
    default: break;
    }
    switch (npy_size(dtype)) {
    case 1: scale_8(swapped, from, count, integer, to); break;
    case 2: scale_16(swapped, from, count, integer, to); break;
    case 4: scale_32(swapped, from, count, integer, to); break;
    default: scale_64(swapped, from, count, integer, to);
    }
}
