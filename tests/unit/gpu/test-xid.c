/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdint.h>

#include "../tap.h"
#include "base/macro.h"
#include "gpu/xid.h"

#define HEAD "6,1234,56789012,-;"

static void some_need_repair(void)
{
	static const uint64_t programs[] = { 0, 13, 14, 31, 37, 38, 43, 44, 45, 63, 92, 94, 154,
		999, 65536 + 79, UINT64_MAX };
	char text[200] = "untouched";

	for (size_t i = 0; i < ELEMENTSOF(programs); i++)
		CHECK(!xid_defect(programs[i], text, sizeof(text)));
	CHECK_STR(text, "untouched");
	CHECK(xid_defect(79, text, sizeof(text)));
	CHECK_STR(text, "XID 79: NVIDIA advises to restart the machine");
	CHECK(xid_defect(48, text, 7));
	CHECK_STR(text, "XID 48");
}

static void reads_reports(void)
{
	static const struct {
		const char *record, *pci;
		uint64_t xid;
		int64_t boot_us;
	} reports[] = {
		{ HEAD "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has "
		       "fallen off the bus.\n",
			"0000:3b:00", 79, 56789012 },
		{ HEAD "NVRM: Xid (PCI:0000:3b:00): 62, 0000(0000)", "0000:3b:00", 62, 56789012 },
		{ "2,1,0,-;NVRM: Xid (PCI:0000:3b:00): 79,", "0000:3b:00", 79, 0 },
		{ "0,1,5,c,caller=T1;NVRM: Xid (PCI:10000:C1:1f): 31, pid=1\n SUBSYSTEM=pci\n",
			"10000:C1:1f", 31, 5 },
		{ HEAD "NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 13, pid=7", "0000:3b:00", 13,
			56789012 },
		{ HEAD "NVRM: Xid (PCI:0000:3b:00 GPU-I:05 GPU-CI:00): 43, pid=7", "0000:3b:00", 43,
			56789012 },
	};

	for (size_t i = 0; i < ELEMENTSOF(reports); i++) {
		char pci[XID_PCI_SIZE] = "";
		uint64_t xid = 0;
		int64_t boot_us = -1;

		CHECK_INT(xid_parse_kmsg(reports[i].record, pci, &xid, &boot_us), 0);
		CHECK_STR(pci, reports[i].pci);
		CHECK_INT(xid, reports[i].xid);
		CHECK_INT(boot_us, reports[i].boot_us);
	}
}

static void nothing_else_is_a_report(void)
{
	static const char *const records[] = {
		"",
		";",
		"NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,56789012;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"-6,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,-5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,99999999999999999999,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,5,-\n;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"6,1234,5,+;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		/* of programs: user, daemon, local7 */
		"8,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"14,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"30,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"190,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		"4294967296,1234,5,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		/* in the middle of something else */
		HEAD " NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		HEAD "x: NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		HEAD "x\\x0aNVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		HEAD "first\nNVRM: Xid (PCI:0000:3b:00): 79, pid=1",
		/* a program of that name that crashed */
		HEAD "NVRM: Xid (PCI:[4711]: segfault at 0 ip 0 sp 0 error 4",
		/* others of the driver, and half ones */
		HEAD "NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
		HEAD "NVRM: GPU at PCI:0000:3b:00: GPU-8a",
		HEAD "NVRM: Xid (0000:3b:00): 79, pid=1",
		HEAD "NVRM: Xid (PCI:): 79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b): 79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00",
		HEAD "NVRM: Xid (PCI:0000:3b:00):79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00): , pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00): -79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00): 79 pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00): 99999999999999999999, pid=1",
		HEAD "NVRM: Xid (PCI:000000000:3b:00): 79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00) (PCI:0000:3c:00): 79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00\\x0a): 79, pid=1",
		HEAD "NVRM: Xid (PCI:0000:3b:00.0): 79, pid=1",
	};

	for (size_t i = 0; i < ELEMENTSOF(records); i++) {
		char pci[XID_PCI_SIZE] = "untouched";
		uint64_t xid = 4711;
		int64_t boot_us = 4712;

		CHECK_INT(xid_parse_kmsg(records[i], pci, &xid, &boot_us), -EINVAL);
		CHECK_STR(pci, "untouched");
		CHECK_INT(xid, 4711);
		CHECK_INT(boot_us, 4712);
		if (tap_failed_now)
			printf("# %s\n", records[i]);
	}
}

static void addresses_have_several_forms(void)
{
	static const struct {
		const char *a, *b;
		bool same;
	} pairs[] = {
		{ "0000:3b:00", "00000000:3B:00.0", true },
		{ "0000:3b:00", "0000:3b:00.0", true },
		{ "0000:3b:00", "0000:3b:00", true },
		{ "10000:c1:1f", "00010000:C1:1F.0", true },
		{ "0000:3b:00.0", "00000000:3b:00.0", true },
		{ "0000:3b:00.0", "00000000:3b:00.1", false },
		{ "0000:3b:00", "0001:3b:00", false },
		{ "0000:3b:00", "0000:3c:00", false },
		{ "0000:3b:00", "0000:3b:01", false },
		{ "0000:03:b0", "0000:3b:00", false },
		{ "", "", false },
		{ "0000:3b:00", "", false },
		{ "x", "x", false },
		{ "0000:3b:00.", "0000:3b:00", false },
		{ "0000:3b:00x", "0000:3b:00", false },
		{ "0000:3b:00.0 ", "0000:3b:00", false },
		{ "000000000:3b:00", "0000:3b:00", false },
	};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		CHECK_INT(xid_same_pci(pairs[i].a, pairs[i].b), pairs[i].same);
		CHECK_INT(xid_same_pci(pairs[i].b, pairs[i].a), pairs[i].same);
		if (tap_failed_now)
			printf("# %s %s\n", pairs[i].a, pairs[i].b);
	}
}

int main(void)
{
	TEST(some_need_repair);
	TEST(reads_reports);
	TEST(nothing_else_is_a_report);
	TEST(addresses_have_several_forms);
	return tap_done();
}
