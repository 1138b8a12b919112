/* SPDX-License-Identifier: MIT */
/* Arrays that grow at their end. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Makes sure that items, an owned pointer with room for *allocated elements of which n are used,
 * has room for one more. Returns 0 or -ENOMEM; then nothing has changed.
 */
#define array_make_room(items, n, allocated) \
	array_grow(&(items), (n), &(allocated), sizeof(*(items)))

/* items: a pointer to the pointer, of whatever type. */
static inline int array_grow(void *items, size_t n, size_t *allocated, size_t size)
{
	size_t more = *allocated > 0 ? *allocated * 2 : 16;
	void *p;

	if (n < *allocated)
		return 0;
	memcpy(&p, items, sizeof(p));
	p = reallocarray(p, more, size);
	if (!p)
		return -ENOMEM;
	memcpy(items, &p, sizeof(p));
	*allocated = more;
	return 0;
}
