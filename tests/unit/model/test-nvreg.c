/* SPDX-License-Identifier: MIT */
#include "model/nvreg.h"

#include "../tap.h"

static void check_parse(const char *text, unsigned mode, unsigned uid, unsigned gid, bool modify)
{
	struct nvreg nvreg;

	nvreg_parse(text, &nvreg);
	CHECK_INT(nvreg.mode, mode);
	CHECK_INT(nvreg.uid, uid);
	CHECK_INT(nvreg.gid, gid);
	CHECK_INT(nvreg.modify, modify);
}

static void the_drivers_text_is_read(void)
{
	check_parse("ResmanDebugLevel: 4294967295\nRmLogonRC: 1\nModifyDeviceFiles: 1\n"
		    "DeviceFileUID: 17\nDeviceFileGID: 44\nDeviceFileMode: 432\n"
		    "RegistryDwords: \"\"\n",
		0660, 17, 44, true);
	check_parse("ModifyDeviceFiles: 0\nDeviceFileMode: 384", 0600, 0, 0, false);
}

static void what_is_missing_has_its_default(void)
{
	check_parse("", 0666, 0, 0, true);
	check_parse("\n\nSomething: 3\n", 0666, 0, 0, true);
	check_parse("DeviceFileMode: 432\n", 0660, 0, 0, true);
}

static void names_count_at_the_start_of_a_line(void)
{
	char line[4096] = "RegistryDwords: \"";

	check_parse("RegistryDwords: \"DeviceFileMode: 432\"\n XDeviceFileMode: 432\n"
		    " DeviceFileMode: 432\nDeviceFileModeX: 432\nDeviceFileMode\n",
		0666, 0, 0, true);
	for (size_t i = strlen(line); i + 1 < sizeof(line); i += 20)
		snprintf(line + i, sizeof(line) - i, "DeviceFileMode: 432;");
	check_parse(line, 0666, 0, 0, true);
}

static void what_is_no_number_has_its_default(void)
{
	check_parse("DeviceFileMode: 0660x\nDeviceFileUID: -1\nDeviceFileGID:\n"
		    "ModifyDeviceFiles: no\n",
		0666, 0, 0, true);
	check_parse("DeviceFileMode: 4294967728\n", 0666, 0, 0, true); /* 432 + 2^32 */
	check_parse("ModifyDeviceFiles: 2\n", 0666, 0, 0, false);      /* only 1 is yes */
}

/* A word of the problem, or NULL if it holds. */
static void check_judgement(
	unsigned mode, unsigned uid, unsigned gid, bool modify, const char *word)
{
	struct nvreg nvreg = { .mode = mode, .uid = uid, .gid = gid, .modify = modify };
	const char *problem = "", *fix = "";

	CHECK_INT(nvreg_acl_holds(&nvreg, &problem, &fix), !word);
	if (word) {
		CHECK(problem && strstr(problem, word));
		CHECK(fix && strstr(fix, "NVreg_DeviceFileUID=0 NVreg_DeviceFileGID=0 "
					 "NVreg_DeviceFileMode=0660"));
		CHECK(fix && strlen(fix) < 256 && problem && strlen(problem) < 200);
	} else {
		CHECK(!problem && !fix);
	}
}

static void judges_what_is_put_back(void)
{
	check_judgement(0666, 0, 0, true, "everybody");
	check_judgement(0660, 0, 0, true, NULL);
	check_judgement(0600, 0, 0, true, "takes");
	check_judgement(0640, 0, 0, true, "takes"); /* opening for reading is not enough */
	check_judgement(0620, 0, 0, true, "takes");
	check_judgement(0, 0, 0, true, "takes");
	check_judgement(0664, 0, 0, true, "everybody");
	check_judgement(0662, 0, 0, true, "everybody");
	check_judgement(0661, 0, 0, true, NULL); /* nothing to execute */
	check_judgement(0770, 0, 0, true, NULL);
	check_judgement(0060, 0, 0, true, NULL); /* u:: is root's */
	check_judgement(0660, 1000, 0, true, "a user");
	check_judgement(0660, 0, 44, true, "a group");
	check_judgement(0600, 0, 44, true, "takes");
}

static void what_is_not_put_back_holds(void)
{
	check_judgement(0666, 0, 0, false, NULL);
	check_judgement(0600, 1000, 44, false, NULL);
}

int main(void)
{
	TEST(the_drivers_text_is_read);
	TEST(what_is_missing_has_its_default);
	TEST(names_count_at_the_start_of_a_line);
	TEST(what_is_no_number_has_its_default);
	TEST(judges_what_is_put_back);
	TEST(what_is_not_put_back_holds);
	return tap_done();
}
