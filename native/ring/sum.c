#include <string.h>

#include "ring.h"

/* The sum in either byte order is the other one's with its bytes swapped, so whole words are added
 * as they lie in memory, little-endian. RFC 1071 §2. */
uint32_t pykvm_ones_sum(const uint8_t *data, size_t start, size_t end)
{
    uint64_t sum = 0, words;
    for (; start + sizeof words <= end; start += sizeof words) {
        memcpy(&words, data + start, sizeof words);
        sum += (words & 0xFFFFFFFF) + (words >> 32);
    }
    words = 0;
    memcpy(&words, data + start, end - start);
    sum += (words & 0xFFFFFFFF) + (words >> 32);
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint32_t)((sum & 0xFF) << 8 | sum >> 8);
}
