/* Accesses by number: a table that is searched from where an access belongs to a free slot. */
#include "routes.h"

#define ACCESS_MASK ((1U << PYKVM_VALUE_SHIFT) - 1)
#define SCATTER 0x9e3779b1U /* 2^32 by the golden ratio: accesses that are alike come apart */

/* The slot that holds the access, or the free one where it belongs. Slot 0 is nobody's: no number
 * is 0. */
static uint32_t find(const struct pykvm_routes *routes, uint32_t access)
{
    uint32_t number = access * SCATTER >> 24;
    while (number == 0 || (routes->access[number] && routes->access[number] != access))
        number = (number + 1) % PYKVM_ROUTE_SLOTS;
    return number;
}

/* Run to the next exit. Returns what is written << PYKVM_ROUTE_SHIFT | number, or 0 for what is no
 * known access, and while a native console holds output: the key tells the rest. */
int64_t pykvm_routes_run(struct pykvm_routes *routes)
{
    int64_t key = routes->run(routes->processor);
    routes->key = key;
    uint32_t number = find(routes, (uint32_t)key & ACCESS_MASK);
    if (!routes->access[number])
        return 0;
    return key >> PYKVM_VALUE_SHIFT << PYKVM_ROUTE_SHIFT | number;
}

/* Know such accesses from now on. Returns their number, or 0 where there is no room. */
int pykvm_routes_add(struct pykvm_routes *routes, int64_t key)
{
    uint32_t access = (uint32_t)key & ACCESS_MASK, number = find(routes, access);
    if (routes->access[number])
        return (int)number;
    if (routes->count == PYKVM_ROUTES_MAX)
        return 0;
    routes->count++;
    routes->access[number] = access;
    return (int)number;
}
