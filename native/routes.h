/* Accesses whose answerer Python knows already. A small number stands for each: it costs Python
 * far less than a key of many bits, behind an exit that leaves nothing in the caches. */
#ifndef PYKVM_ROUTES_H
#define PYKVM_ROUTES_H

#include "pykvm.h"

#define PYKVM_ROUTE_SLOTS 256 /* numbers that Python need not allocate */
#define PYKVM_ROUTES_MAX 192  /* so that searches end soon */
#define PYKVM_ROUTE_SHIFT 8   /* what is written stands above the number */

/* Of one run. */
struct pykvm_routes {
    int64_t (*run)(void *processor); /* to the next exit; returns its key */
    void *processor;
    int64_t key;                        /* the last exit's */
    uint32_t count;                     /* of accesses */
    uint32_t access[PYKVM_ROUTE_SLOTS]; /* by number: a key without what is written, or 0 */
};

int64_t pykvm_routes_run(struct pykvm_routes *routes);
int pykvm_routes_add(struct pykvm_routes *routes, int64_t key);

#endif
