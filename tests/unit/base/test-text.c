/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include "../tap.h"
#include "base/error.h"
#include "base/macro.h"

static void utf8_is_told_from_bytes(void)
{
	static const char *const good[] = { "", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
		"\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\xff", "\xe2\x82" };

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		CHECK(text_is_utf8(good[i]));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK(!text_is_utf8(bad[i]));
}

static void nothing_harmful_survives(void)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain \xc3\xa4 \xf0\x9f\x98\x80", "plain \xc3\xa4 \xf0\x9f\x98\x80" },
		{ "\x1b[31mred\x07\n", "?[31mred??" },
		{ "\x7f\xc2\x9b"
		  "1m",
			"??1m" },
		{ "rtl \xe2\x80\xae", "rtl ?" },
		{ "\xff\xc3", "??" },
		{ "%n; DROP TABLE <b>", "%n; DROP TABLE <b>" },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		char text[64];

		text_copy(text, sizeof(text), cases[i].in);
		text_sanitize(text);
		CHECK_STR(text, cases[i].out);
		CHECK(text_is_utf8(text));
	}
}

static void characters_are_not_split(void)
{
	char text[8];

	text_copy(text, sizeof(text), "abcde\xe2\x82\xac");
	CHECK_STR(text, "abcde");
	text_copy(text, sizeof(text), "abcd\xe2\x82\xac");
	CHECK_STR(text, "abcd\xe2\x82\xac");
	text_cut(text, 6);
	CHECK_STR(text, "abcd");
	text_cut(text, 10);
	CHECK_STR(text, "abcd");
}

static void lists_keep_empty_pieces(void)
{
	char text[] = "0,,GPU-1";
	char *cursor = text;

	CHECK_STR(text_next(&cursor), "0");
	CHECK_STR(text_next(&cursor), "");
	CHECK_STR(text_next(&cursor), "GPU-1");
	CHECK(!text_next(&cursor));
}

static void blanks_are_cut_off(void)
{
	char both[] = "\t a b  ", none[] = "a", all[] = " \t ";

	CHECK_STR(text_strip(both), "a b");
	CHECK_STR(text_strip(none), "a");
	CHECK_STR(text_strip(all), "");
}

static void lists_are_walked(void)
{
	const char *cursor = "user.slice,/a/b,123456789";
	char name[11];

	CHECK_STR(text_list_next(&cursor, name, sizeof(name)), "user.slice");
	CHECK_STR(text_list_next(&cursor, name, sizeof(name)), "/a/b");
	CHECK_STR(text_list_next(&cursor, name, 4), "123");
	CHECK(!text_list_next(&cursor, name, sizeof(name)));
	CHECK(!text_list_next(&cursor, name, sizeof(name)));
	cursor = "";
	CHECK(!text_list_next(&cursor, name, sizeof(name)));
}

static void errors_carry_their_history(void)
{
	struct error err = { 0 };
	char longer[2 * ERROR_TEXT_SIZE];

	CHECK_INT(error_errno(&err, -2, "file.missing", "cannot open %s", "x"), -2);
	CHECK_STR(err.id, "file.missing");
	CHECK_STR(err.text, "cannot open x: No such file or directory");
	CHECK_INT(error_prefix(&err, -2, "%s:%d", "f.conf", 3), -2);
	CHECK_STR(err.text, "f.conf:3: cannot open x: No such file or directory");
	CHECK_STR(err.id, "file.missing");
	CHECK_INT(error_set(NULL, -5, "x", "y"), -5);

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	error_set(&err, -1, "long", "%s\xc3\xa4", longer);
	CHECK_INT(strlen(err.text), ERROR_TEXT_SIZE - 1);
	longer[ERROR_TEXT_SIZE - 2] = '\0'; /* room for one byte of the two */
	error_set(&err, -1, "long", "%s\xc3\xa4", longer);
	CHECK_INT(strlen(err.text), ERROR_TEXT_SIZE - 2);
	CHECK(text_is_utf8(err.text));
	longer[ERROR_TEXT_SIZE - 3] = '\0';
	error_set(&err, -1, "long", "%s\xc3\xa4", longer);
	CHECK_INT(strlen(err.text), ERROR_TEXT_SIZE - 1);
}

int main(void)
{
	TEST(utf8_is_told_from_bytes);
	TEST(nothing_harmful_survives);
	TEST(characters_are_not_split);
	TEST(lists_keep_empty_pieces);
	TEST(blanks_are_cut_off);
	TEST(lists_are_walked);
	TEST(errors_carry_their_history);
	return tap_done();
}
