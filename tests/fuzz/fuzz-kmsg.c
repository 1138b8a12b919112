/* SPDX-License-Identifier: MIT */
/* A record of the kernel log. What is taken for a report names a card, and is the kernel's own. */
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "fuzz.h"
#include "gpu/xid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *record = malloc(size + 1);
	char pci[XID_PCI_SIZE];
	uint64_t xid;
	int64_t boot_us;

	REQUIRE(record);
	memcpy(record, data, size);
	record[size] = '\0';
	if (xid_parse_kmsg(record, pci, &xid, &boot_us) < 0)
		return 0;
	REQUIRE(strlen(pci) < sizeof(pci) && xid_same_pci(pci, pci) && boot_us >= 0);
	REQUIRE(strstr(record, ";NVRM: Xid (PCI:") && strtoul(record, NULL, 10) < 8);
	return 0;
}
