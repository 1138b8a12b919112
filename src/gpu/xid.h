/* SPDX-License-Identifier: MIT */
/*
 * XIDs: the numbers by which the NVIDIA driver reports errors of a GPU, as events to those who
 * listen and as lines in the kernel log. Pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The recovery action of a GPU has changed: no defect by itself. */
#define XID_RECOVERY_ACTION 154

/* Does a GPU need repair after this XID? Then dst gets the sentence that says which. The others are
 * faults of programs, or informational. */
bool xid_defect(uint64_t xid, char *dst, size_t size);

#define XID_PCI_SIZE 32

/*
 * Reads one record of /dev/kmsg (NUL-terminated; Documentation/ABI/testing/dev-kmsg). Returns 0 if
 * it is the NVIDIA driver's report of an XID, with the address of the GPU as it stands there
 * ("0000:3b:00"), the number, and the time since boot in microseconds, else -EINVAL and nothing is
 * written. What programs write into the log is never such a report.
 */
int xid_parse_kmsg(
	const char *record, char ret_pci[XID_PCI_SIZE], uint64_t *ret_xid, int64_t *ret_boot_us);

/* Are these the addresses of one card? "0000:3b:00" of the kernel log is the same as NVML's
 * "00000000:3B:00.0"; a function that only one of them names does not count. What is no address is
 * the same as nothing. */
bool xid_same_pci(const char *a, const char *b);
