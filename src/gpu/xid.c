/* SPDX-License-Identifier: MIT */
/*
 * The advice is that of NVIDIA's XID catalog (2025-10), as carried by leptonai/gpud. XIDs that are
 * not listed here are faults of a program (13, 31, 43, 45, 94, ...) or informational: the GPU stays
 * in use.
 *
 * A line of the log is "NVRM: Xid (PCI:0000:3b:00): 79, pid=..., name=..., ..."; on a MIG card the
 * parenthesis also has " GPU-I:05 GPU-CI:00" (open-gpu-kernel-modules, kernel_rc.c). Programs can
 * write into the log, but the kernel gives their lines another facility than its own (printk.c,
 * devkmsg_write), and can choose names that the kernel repeats at the start of a line, but only 15
 * bytes of them. So a report counts if it is of the kernel itself, and from its first byte on.
 */
#include "gpu/xid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"

static const char reset_gpu[] = "reset the GPU";
static const char restart_machine[] = "restart the machine";

static const struct {
	uint16_t xid;
	const char *advice;
} drain[] = {
	{ 46, reset_gpu },
	{ 48, "follow its workflow for this XID" },
	{ 62, reset_gpu },
	{ 64, reset_gpu },
	{ 79, restart_machine },
	{ 95, reset_gpu },
	{ 109, reset_gpu },
	{ 110, reset_gpu },
	{ 119, reset_gpu },
	{ 120, reset_gpu },
	{ 136, reset_gpu },
	{ 140, reset_gpu },
	{ 143, reset_gpu },
	{ 151, restart_machine },
	{ 155, reset_gpu },
	{ 156, reset_gpu },
	{ 158, reset_gpu },
};

bool xid_defect(uint64_t xid, char *dst, size_t size)
{
	for (size_t i = 0; i < ELEMENTSOF(drain); i++) {
		if (drain[i].xid != xid)
			continue;
		snprintf(dst, size, "XID %u: NVIDIA advises to %s", drain[i].xid, drain[i].advice);
		return true;
	}
	return false;
}

/* Digits of base 10 or 16 at *cursor, which moves behind them. */
static bool take_number(const char **cursor, int base, size_t max_digits, uint64_t *ret)
{
	size_t digits = strspn(*cursor, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");
	char copy[24];

	if (digits == 0 || digits > max_digits || digits >= sizeof(copy))
		return false;
	memcpy(copy, *cursor, digits);
	copy[digits] = '\0';
	*ret = strtoull(copy, NULL, base);
	*cursor += digits;
	return true;
}

static bool take_text(const char **cursor, const char *text)
{
	size_t n = strlen(text);

	if (strncmp(*cursor, text, n) != 0)
		return false;
	*cursor += n;
	return true;
}

/* "0000:3b:00" as one number. */
static bool take_address(const char **cursor, uint64_t *ret)
{
	uint64_t domain, bus, device;

	if (!take_number(cursor, 16, 8, &domain) || !take_text(cursor, ":") ||
		!take_number(cursor, 16, 2, &bus) || !take_text(cursor, ":") ||
		!take_number(cursor, 16, 2, &device))
		return false;
	*ret = domain << 16 | bus << 8 | device;
	return true;
}

/* "6,1234,56789012,-;" or with more fields. Continued records ('+') begin anywhere in a line. */
static bool take_head(const char **cursor, int64_t *ret_boot_us)
{
	uint64_t prefix, sequence, time;

	if (!take_number(cursor, 10, 9, &prefix) || !take_text(cursor, ",") ||
		!take_number(cursor, 10, 20, &sequence) || !take_text(cursor, ",") ||
		!take_number(cursor, 10, 18, &time) || !take_text(cursor, ",") ||
		prefix >> 3 != 0 || **cursor == '+')
		return false;
	*ret_boot_us = (int64_t)time;
	*cursor += strcspn(*cursor, ";\n");
	return take_text(cursor, ";");
}

int xid_parse_kmsg(
	const char *record, char ret_pci[XID_PCI_SIZE], uint64_t *ret_xid, int64_t *ret_boot_us)
{
	const char *cursor = record, *address;
	uint64_t ignored, xid;
	int64_t boot_us;
	size_t size;

	if (!take_head(&cursor, &boot_us) || !take_text(&cursor, "NVRM: Xid (PCI:"))
		return -EINVAL;
	address = cursor;
	if (!take_address(&cursor, &ignored))
		return -EINVAL;
	size = (size_t)(cursor - address) + 1;
	if (*cursor == ' ')
		cursor += strspn(cursor, " -:0123456789CGIPU");
	if (!take_text(&cursor, "): ") || !take_number(&cursor, 10, 9, &xid) || *cursor != ',')
		return -EINVAL;
	text_copy(ret_pci, MIN(size, (size_t)XID_PCI_SIZE), address);
	*ret_xid = xid;
	*ret_boot_us = boot_us;
	return 0;
}

bool xid_same_pci(const char *a, const char *b)
{
	const char *const texts[] = { a, b };
	uint64_t address[2], function[2];
	bool has_function[2];

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		const char *cursor = texts[i];

		if (!take_address(&cursor, &address[i]))
			return false;
		has_function[i] = take_text(&cursor, ".");
		if ((has_function[i] && !take_number(&cursor, 16, 1, &function[i])) || *cursor)
			return false;
	}
	return address[0] == address[1] &&
	       (!has_function[0] || !has_function[1] || function[0] == function[1]);
}
