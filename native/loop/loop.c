/* The host's own speed: runs machine code that `pykvm bench cpu` sends it.
 *
 * Reads lines "BUFFER_BYTES TURNS HEX" from standard input and answers each with the
 * nanoseconds that calling the code took. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define CODE_BYTES 4096

/* Arguments come in rdi, rsi, rdx and rcx: System V ABI for x86-64, §3.2.3. */
typedef void loop(uint8_t *buffer, uint64_t index, uint64_t seed, uint64_t turns);

static void *map(size_t size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void fill(uint8_t *code, const char *hex)
{
    unsigned byte;
    for (size_t i = 0; i < CODE_BYTES && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++)
        code[i] = (uint8_t)byte;
}

static uint64_t measure(const char *hex, size_t buffer_bytes, uint64_t turns)
{
    uint8_t *code = map(CODE_BYTES), *buffer = map(buffer_bytes);
    fill(code, hex);
    if (mprotect(code, CODE_BYTES, PROT_READ | PROT_EXEC)) {
        perror("mprotect");
        exit(1);
    }
    loop *call = (loop *)(uintptr_t)code;
    uint64_t start_ns = now_ns();
    call(buffer, 0, 1, turns);
    uint64_t took_ns = now_ns() - start_ns;
    munmap(code, CODE_BYTES);
    munmap(buffer, buffer_bytes);
    return took_ns;
}

int main(void)
{
    char hex[2 * CODE_BYTES + 1];
    uint64_t turns;
    size_t buffer_bytes;
    while (scanf("%zu %" SCNu64 " %8192s", &buffer_bytes, &turns, hex) == 3) {
        printf("%" PRIu64 "\n", measure(hex, buffer_bytes, turns));
        fflush(stdout);
    }
    return 0;
}
