/* SPDX-License-Identifier: MIT */
/* The journal of foreign use: who began to use a GPU without a lease for it, and when it was over.
 * One line a user and GPU, however many processes. */
#pragma once

#include "daemon/manager.h"

struct foreign;

int foreign_new(struct foreign **ret);
struct foreign *foreign_free(struct foreign *foreign);

/* After processes were looked at. */
void foreign_look(struct manager *m);
