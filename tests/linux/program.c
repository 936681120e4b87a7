/* What a user program may be made of: floats, vectors, threads. Every line that it prints
 * follows from the instruction set alone. */
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define COUNT 4096
#define THREADS 4

static float a[COUNT], b[COUNT], c[COUNT];
static uint32_t words[COUNT];
static atomic_ulong total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double shared;

static uint64_t hash(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t value = 1469598103934665603u;
    for (size_t i = 0; i < size; i++)
        value = (value ^ bytes[i]) * 1099511628211u;
    return value;
}

static void floats(void)
{
    long double product = 1;
    double sum = 0;
    for (int i = 1; i <= COUNT; i++) {
        sum += sqrt(i) / (i + 0.5) - sin(i) * exp(-i / 1000.0);
        product *= 1.0L + 1.0L / ((long double)i * i);
    }
    printf("sum %a product %La atan %a pow %a\n", sum, product, atan2(1, 3), pow(1.1, 77));
    printf("round %.3f %.10g %ld %d\n", 2.0005, 1e300 * 1e10, lrint(2.5), (int)-3.99);
}

static void vectors(void)
{
    for (int i = 0; i < COUNT; i++) {
        a[i] = (float)(i * 37 % 101) / 7;
        b[i] = (float)(i * 53 % 97) - 31;
        words[i] = (uint32_t)i * 2654435761u;
    }
    for (int i = 0; i < COUNT; i++)
        c[i] = fmaf(a[i], b[i], c[(i + 1) % COUNT]) / (1 + a[i]);
    printf("fma %016lx\n", hash(c, sizeof(c)));
    __m256i sum = _mm256_setzero_si256(), last = sum;
    for (int i = 0; i < COUNT; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)&words[i]);
        __m256i shuffled = _mm256_shuffle_epi8(x, _mm256_add_epi8(last, sum));
        sum = _mm256_add_epi32(_mm256_mullo_epi32(x, shuffled), _mm256_srlv_epi32(sum, x));
        last = _mm256_permutevar8x32_epi32(_mm256_xor_si256(x, sum), x);
        last = _mm256_blendv_epi8(last, _mm256_i32gather_epi32((const int *)words,
                                  _mm256_and_si256(x, _mm256_set1_epi32(COUNT - 1)), 4), x);
    }
    printf("avx2 %016lx %016lx\n", hash(&sum, 32), hash(&last, 32));
    __m128 half = _mm_cvtph_ps(_mm_cvtps_ph(_mm_loadu_ps(&a[5]), 0));
    uint64_t bits = _pext_u64(hash(words, 999), 0xff00f0f0cccc5555u);
    bits ^= _pdep_u64(_tzcnt_u64(bits), 0x8765432112345678u) + _lzcnt_u64(bits) + _bzhi_u64(bits, 21);
    printf("half %016lx bits %016lx popcnt %ld\n", hash(&half, 16), bits,
           (long)_mm_popcnt_u64(bits));
    char text[200];
    memset(text, 'x', sizeof(text));
    text[199] = 0;
    printf("length %zu %p\n", strlen(text), (void *)strchr(text, 'y'));
}

static void *thread(void *argument)
{
    uintptr_t number = (uintptr_t)argument;
    for (unsigned i = 0; i < 20000; i++) {
        atomic_fetch_add(&total, i * (number + 1));
        if (i % 100 == 0) {
            pthread_mutex_lock(&lock);
            shared += 0.5;
            pthread_mutex_unlock(&lock);
        }
    }
    return (void *)(uintptr_t)hash(&number, sizeof(number));
}

int main(void)
{
    pthread_t threads[THREADS];
    uint64_t joined = 0;
    floats();
    vectors();
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, thread, (void *)i);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        joined ^= (uintptr_t)result;
    }
    printf("threads %lu %.1f %016lx\n", atomic_load(&total), shared, joined);
    return 0;
}
