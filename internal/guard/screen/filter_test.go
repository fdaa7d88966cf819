package screen

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func filtered(in string) (string, Counts) {
	var f Filter
	out := f.Append(nil, []byte(in))
	return string(f.Flush(out)), f.Counts()
}

// TestPasses: what programs need comes out as it went in.
func TestPasses(t *testing.T) {
	for _, in := range []string{
		"plain text\r\n\tgrüße 世界 🙂\b\a", "\x1b[1;31mred\x1b[0m\x1b[38;2;1;2;3m\x1b[4:3m\x1b[m",
		"\x1b[H\x1b[12;40H\x1b[2J\x1b[K\x1b[1K\x1b[3A\x1b[4B\x1b[5C\x1b[6D\x1b[2E\x1b[2F\x1b[7G\x1b[9d\x1b[3e\x1b[2`\x1b[4a",
		"\x1b[L\x1b[2M\x1b[3P\x1b[4@\x1b[5X\x1b[2S\x1b[2T\x1b[3b\x1b[2I\x1b[Z", "\x1b[2;10r\x1b[r",
		"\x1b7\x1b8\x1bM\x1b=\x1b>\x1b(0lqk\x1b(B\x1b)0\x0e\x0f", "\x1b[?25l\x1b[?25h\x1b[?7l\x1b[?1h\x1b[4h\x1b[4l",
		"\x1b[?1049h\x1b[?1049l\x1b[?2004h\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?2026h\x1b[?2026l",
		"\x1b[c\x1b[>c\x1b[5n\x1b[6n\x1b[?2026$p\x1b[?u\x1b[>1u\x1b[=0;1u\x1b[<1u\x1b[>4;2m\x1b[>4m\x1b[2 q",
		"\x1b]0;a title\x1b\\\x1b]2;zwei\x1b\\\x1b]11;?\x1b\\\x1b]4;7;?\x1b\\",
		"\x1b]8;id=a1;https://example.org/x?y=1\x1b\\here\x1b]8;;\x1b\\",
	} {
		got, counts := filtered(in)
		if diff := cmp.Diff(in, got); diff != "" || counts.Total() != 0 {
			t.Errorf("%v\n(-want +got):\n%s", counts.Map(), diff)
		}
	}
}

// attacks are sequences that drive a terminal or make it type; each must be
// held back and counted as its kind. They are named by what they did.
var attacks = []struct {
	name, in string
	kind     Kind
}{
	{"clipboard write", "\x1b]52;c;cm0gLXJm\a", Clipboard},
	{"clipboard read", "\x1b]52;c;?\x1b\\", Clipboard},
	{"clipboard, primary, no kind", "\x1b]52;;?\x1b\\", Clipboard},
	{"xterm font CVE-2022-45063", "\x1b]50;i$(touch /tmp/x)\a\x1b]50;?\a", Command},
	{"rxvt font", "\x1b]710;?\a", Command},
	{"rxvt look", "\x1b]20;/dev/zero\a", Command},
	{"xterm log file", "\x1b]46;/etc/passwd\a", Command},
	{"kitty notification CVE-2022-41322", "\x1b]99;i=1:d=0;x\x1b\\", Command},
	{"rxvt notification", "\x1b]777;notify;a;b\a", Command},
	{"iTerm2 file", "\x1b]1337;File=name=eA==:eA==\a", Command},
	{"iTerm2 copy", "\x1b]1337;CopyToClipboard=\a", Command},
	{"iTerm2 profile", "\x1b]50;SetProfile=x\a", Command},
	{"iTerm2 report variable", "\x1b]1337;ReportVariable=eA==\a", Command},
	{"iTerm2 request upload", "\x1b]1337;RequestUpload=format=tgz\a", Command},
	{"ConEmu run", "\x1b]9;7;cmd\x1b\\", Command},
	{"Windows Terminal directory", "\x1b]9;9;\\\\evil\\share\x1b\\", Command},
	{"working directory", "\x1b]7;file://evil/x\x1b\\", Command},
	{"prompt marks", "\x1b]133;A\x1b\\", Command},
	{"VS Code command line", "\x1b]633;E;rm -rf;nonce\x1b\\", Command},
	{"mintty", "\x1b]7704;x\a", Command},
	{"set palette", "\x1b]4;1;rgb:00/00/00\x1b\\", Command},
	{"set palette behind a query", "\x1b]4;1;?;2;rgb:00/00/00\x1b\\", Command},
	{"set background", "\x1b]11;#000000\a", Command},
	{"cursor colour", "\x1b]12;black\a", Command},
	{"reset palette", "\x1b]104\a", Command},
	{"title stack in OSC", "\x1b]l;x\a", Command},
	{"empty OSC", "\x1b]\a", Command},
	{"padded number", "\x1b]052;c;?\a", Command},
	{"DECRQSS CVE-2008-2383", "\x1bP$q\nid\n\x1b\\", Device},
	{"user keys", "\x1bP0;1|17/0a6964\x1b\\", Device},
	{"tmux passthrough", "\x1bPtmux;\x1b\x1b]52;c;?\a\x1b\\", Clipboard},
	{"sixel", "\x1bPq#0;2;0;0;0~~\x1b\\", Device},
	{"XTGETTCAP", "\x1bP+q544e\x1b\\", Device},
	{"iTerm2 conductor", "\x1bP2000p{\"x\"}\x1b\\", Device},
	{"synchronised update as DCS", "\x1bP=1s\x1b\\", Device},
	{"kitty graphics file", "\x1b_Gi=1,t=f;L2V0Yy9wYXNzd2Q=\x1b\\", Message},
	{"kitty remote control", "\x1bP@kitty-cmd{}\x1b\\", Device},
	{"privacy message", "\x1b^x\x1b\\", Message},
	{"start of string", "\x1bXx\x1b\\", Message},
	{"screen title", "\x1bkx\x1b\\", Message},
	{"title report CVE-2003-0063", "\x1b[21t", Window},
	{"icon report", "\x1b[20t", Window},
	{"size reports", "\x1b[18t", Window},
	{"window resize", "\x1b[8;1;1t", Window},
	{"iconify", "\x1b[2t", Window},
	{"rows", "\x1b[99t", Window},
	{"media copy", "\x1b[i", Printer},
	{"printer on", "\x1b[5i", Printer},
	{"private media copy", "\x1b[?5i", Printer},
	{"answerback", "\x05", Control},
	{"XOFF", "\x13", Control},
	{"raw CSI", "\x9b21t", C1},
	{"raw OSC", "\x9d52;c;?\x9c", C1},
	{"UTF-8 CSI", "\u009b21t", C1},
	{"UTF-8 DCS", "\u0090$q\u009c", C1},
	{"132 columns", "\x1b[?3h", Mode},
	{"side margins", "\x1b[?69h", Mode},
	{"in-band resize", "\x1b[?2048h", Mode},
	{"grapheme widths", "\x1b[?2027h", Mode},
	{"UTF-8 mouse", "\x1b[?1005h", Mode},
	{"line feed mode", "\x1b[20h", Mode},
	{"keyboard lock", "\x1b[2h", Mode},
	{"local echo", "\x1b[12l", Mode},
	{"clear scrollback", "\x1b[3J", Sequence},
	{"DA3", "\x1b[=c", Sequence},
	{"private report", "\x1b[?6n", Sequence},
	{"locator", "\x1b[?53n", Sequence},
	{"XTVERSION", "\x1b[>q", Sequence},
	{"terminal parameters", "\x1b[x", Sequence},
	{"rectangle checksum", "\x1b[1;1;1;1;1;1*y", Sequence},
	{"fill rectangle", "\x1b[65;24;1;24;80$x", Sequence},
	{"copy rectangle", "\x1b[1;1;2;80;1;23;1;1$v", Sequence},
	{"change rectangle", "\x1b[24;1;24;80;8$r", Sequence},
	{"save modes", "\x1b[?1s", Sequence},
	{"restore modes", "\x1b[?1r", Sequence},
	{"side margins by s", "\x1b[2;5s", Sequence},
	{"conformance", "\x1b[61\"p", Sequence},
	{"protected", "\x1b[1\"q", Sequence},
	{"status display", "\x1b[1$}", Sequence},
	{"mouse tracking", "\x1b[1;1;1;1;1T", Sequence},
	{"title modes", "\x1b[>1T", Sequence},
	{"hide pointer", "\x1b[>2p", Sequence},
	{"columns", "\x1b[132$|", Sequence},
	{"alignment test", "\x1b#8", Sequence},
	{"double size", "\x1b#3", Sequence},
	{"leave UTF-8", "\x1b%@", Sequence},
	{"8-bit controls", "\x1b G", Sequence},
	{"G2", "\x1b*0", Sequence},
	{"single shift", "\x1bN", Sequence},
	{"lock memory", "\x1bl", Sequence},
	{"tab stop", "\x1bH", Sequence},
	{"identify", "\x1bZ", Sequence},
	{"keyboard flags", "\x1b[?1u", Sequence},
	{"malformed", "\x1b[1?5h", Sequence},
	{"two intermediates", "\x1b[1 $p", Sequence},
}

func TestAttacks(t *testing.T) {
	for _, tt := range attacks {
		t.Run(tt.name, func(t *testing.T) {
			got, counts := filtered("a" + tt.in + "z")
			if strings.ContainsAny(got, "\x1b\x05\x13\u009b\u009d\u0090") {
				t.Errorf("passed as %q", got)
			}
			if counts[tt.kind] == 0 || counts.Map()[tt.kind.String()] == 0 {
				t.Errorf("counted as %v, want %v", counts.Map(), tt.kind)
			}
			if tt.kind != C1 && got != "az" {
				t.Errorf("%q is left", got)
			}
			if tt.kind == C1 && !strings.HasPrefix(got, "a\ufffd") {
				t.Errorf("%q shows nothing", got)
			}
		})
	}
}

func TestRewritten(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, tt := range map[string]struct{ in, want string }{
		"title end":           {"\x1b]2;t\a", "\x1b]2;t\x1b\\"},
		"title is cut":        {"\x1b]0;" + strings.Repeat("x", 999) + "\a", "\x1b]0;" + strings.Repeat("x", maxTitle) + "\x1b\\"},
		"title is cleaned":    {"\x1b]0;a\u202eb\u200b\u00a0c\td\xff\a", "\x1b]0;ab cd\x1b\\"},
		"title that runs":     {"\x1b]0;__cm:calc\a", "\x1b]0;cm:calc\x1b\\"},
		"title too long":      {"a\x1b]0;" + long + "\az", "az"},
		"link scheme":         {"\x1b]8;;file:///etc/passwd\az", "\x1b]8;;\x1b\\z"},
		"link to a share":     {"\x1b]8;;smb://evil.example/x\az", "\x1b]8;;\x1b\\z"},
		"link to a program":   {"\x1b]8;;x-man-page:///x\az", "\x1b]8;;\x1b\\z"},
		"link with user":      {"\x1b]8;;https://bank.example@evil.example/\az", "\x1b]8;;\x1b\\z"},
		"link with controls":  {"\x1b]8;;https://a.example/\tb\az", "\x1b]8;;\x1b\\z"},
		"link without host":   {"\x1b]8;;https:///x\az", "\x1b]8;;\x1b\\z"},
		"link too long":       {"\x1b]8;;https://a.example/" + strings.Repeat("x", 3000) + "\az", "\x1b]8;;\x1b\\z"},
		"link parameters":     {"\x1b]8;x=1:id=q:y=2;http://a.example\a", "\x1b]8;id=q;http://a.example\x1b\\"},
		"link id":             {"\x1b]8;id=a b;http://a.example\a", "\x1b]8;;http://a.example\x1b\\"},
		"reset":               {"\x1bc", "\x1b(B\x1b)B\x0f\x1b[m\x1b]8;;\x1b\\\x1b7\x1b[r\x1b8\x1b[H\x1b[2J"},
		"old alternate":       {"\x1b[?47h\x1b[?1047l", "\x1b[?1049h\x1b[?1049l"},
		"alternate twice":     {"\x1b[?1049l\x1b[?1049h\x1b[?1049h", "\x1b[?1049h"},
		"keyboard flags":      {"\x1b[>31u\x1b[=31;1u", "\x1b[>1u\x1b[=1;1u"},
		"keyboard pops":       {"\x1b[<9u\x1b[>1u\x1b[<9u", "\x1b[>1u\x1b[<1u"},
		"keyboard set":        {"\x1b[=1u", "\x1b[>1u"},
		"modes one by one":    {"\x1b[?25;3;1006l", "\x1b[?25l\x1b[?1006l"},
		"saved cursor":        {"\x1b[s\x1b[u\x1b[?1048h\x1b[?1048l", "\x1b7\x1b8\x1b7\x1b8"},
		"vertical tab":        {"a\vb\fc", "a\nb\nc"},
		"next line":           {"\x1bE", "\r\n"},
		"huge number":         {"\x1b[99999999999999999999C", "\x1b[9999C"},
		"leading zeros":       {"\x1b[0031m", "\x1b[31m"},
		"control inside":      {"\x1b[3\n1mx", "\n\x1b[31mx"},
		"escape inside":       {"\x1b[31\x1b[32mx", "\x1b[32mx"},
		"cancel":              {"\x1b[31\x18mx\x1b]52;c;\x1ax", "mxx"},
		"OSC ended by CSI":    {"\x1b]52;c;\x1b[31mx", "\x1b[31mx"},
		"OSC ended by a line": {"\x1b]52;c;abc\nx", "\nx"},
		"broken runes":        {"\xc3(\xe2\x82x\xf0\x9f\xff\xc0\xaf\xed\xa0\x80", "\ufffd(\ufffdx\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"},
		"rune cut at the end": {"a\xe2\x82", "a\ufffd"},
		"text bidi stays":     {"a\u202eb", "a\u202eb"},
		"replacement rune":    {"\ufffd", "\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := filtered(tt.in)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEndless: a sequence without end costs a bounded part of the output and a
// bounded amount of memory.
func TestEndless(t *testing.T) {
	for _, begin := range []string{"\x1b]52;c;", "\x1bPq", "\x1b_G", "\x1b[1", "\x1b ", "\x1bX"} {
		var f Filter
		out := f.Append(nil, []byte(begin))
		for range 2 * maxString / 1024 {
			fill := bytes.Repeat([]byte{'!'}, 1024)
			if begin == "\x1b[1" {
				fill = bytes.Repeat([]byte{'1'}, 1024)
			}
			if out = f.Append(out, fill); len(out) > 0 {
				break
			}
		}
		if len(out) == 0 || cap(f.str) > 4*maxKept {
			t.Errorf("%q swallows everything or keeps %d bytes", begin, cap(f.str))
		}
	}
}

func TestRestore(t *testing.T) {
	var f Filter
	f.Append(nil, []byte("\x1b[?1049h\x1b[>1u\x1b[?1000h\x1b[?25l\x1b[?2004h\x1b[31m\x1b[>4;2m\x1b[3 q\x1b=\x1b[4h"))
	got := string(f.Restore(nil))
	for _, want := range []string{"\x1b[<1u", "\x1b[?1049l", "\x1b[?1000l", "\x1b[?25h", "\x1b[?2004l", "\x1b[m", "\x1b[>4m", "\x1b[0 q", "\x1b>", "\x1b[4l", "\x1b(B", "\x0f", "\x1b]8;;\x1b\\"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Index(got, "\x1b[<1u") > strings.Index(got, "\x1b[?1049l") {
		t.Error("the keyboard is popped on the wrong screen")
	}
}

func seeds() (all []string) {
	for _, a := range attacks {
		all = append(all, a.in)
	}
	return append(all, "\x1b[?1049h\x1b[5;10r\x1b7\x1b[24;1Hx\x1b8\x1b[99B", "\xe2\x82\xac\xf0\x9f\x99\x82", "\x1b]8;;http://a.b\a", strings.Repeat("x", 200)+"\n")
}

// FuzzFilter: any cut gives the same, the result is UTF-8, holds nothing of
// the kinds that are held back and passes a second time unchanged.
func FuzzFilter(f *testing.F) {
	for i, s := range seeds() {
		f.Add([]byte(s), uint64(i), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, staged bool) {
		var one, two Filter
		if staged {
			one.stage, two.stage = newStage(9, 20), newStage(9, 20)
		}
		whole := one.Flush(one.Append(nil, in))
		r := rand.New(rand.NewPCG(seed, 1))
		var parts []byte
		for rest := in; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			parts = two.Append(parts, rest[:n])
			rest = rest[n:]
		}
		parts = two.Flush(parts)
		if !bytes.Equal(whole, parts) || one.Counts() != two.Counts() {
			t.Fatalf("whole %q, in parts %q", whole, parts)
		}
		if !utf8.Valid(whole) {
			t.Fatalf("%q is not UTF-8", whole)
		}
		var again Filter
		if out := again.Flush(again.Append(nil, whole)); !staged && again.Counts().Total() > 0 {
			t.Fatalf("%q passes as %q: %v", whole, out, again.Counts().Map())
		}
		for _, bad := range []string{"\x1b]52", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bk", "\x1b#", "\x1b%", "\x05"} {
			if bytes.Contains(whole, []byte(bad)) {
				t.Fatalf("%q in %q", bad, whole)
			}
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	sgr := strings.Repeat("\x1b[38;2;10;200;30mword\x1b[0m \x1b[1;4mx\x1b[m\r\n", 800)
	for name, text := range map[string]string{
		"text": strings.Repeat("the quick brown fox jumps over the lazy dog\r\n", 800), "sgr": sgr, "runes": strings.Repeat("grüße 世界 ─│┌┐\r\n", 800),
	} {
		for _, staged := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/staged=%v", name, staged), func(b *testing.B) {
				var f Filter
				if staged {
					f.stage = newStage(24, 80)
				}
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				var out []byte
				for b.Loop() {
					out = f.Append(out[:0], []byte(text))
				}
			})
		}
	}
}
