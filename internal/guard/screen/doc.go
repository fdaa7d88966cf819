// Package screen stands between a program that is not trusted and the terminal
// of a person: it filters what the program prints, keeps the last row for
// ourselves, asks questions there that nothing the program prints and nothing
// typed for the program can answer, and records what was shown.
//
// # What passes
//
// The list is of what is allowed; whatever is not on it is dropped and counted
// by Kind. What passes is written anew from its parsed parts, never copied, so
// that a terminal cannot read another sequence than the one that was judged.
//
//	passes                            reason
//	text in UTF-8                     what is broken becomes U+FFFD; 8-bit controls (raw or U+0080 to
//	                                  U+009F) too: half of all terminals obey them
//	BEL BS HT LF VT FF CR SO SI       displays need them; VT and FF become LF. ENQ sends an answerback,
//	                                  XON and XOFF stop printers: dropped
//	CSI A to I, a d e f G H Z `       cursor; rows are kept to the stage
//	CSI J K L M P X @ S T b           erase, edit, scroll, repeat; not J3, the scrollback is the person's
//	CSI r s u, ESC 7 8 D E M          margins, saved cursor, index; kept to the stage
//	CSI m                             colours and attributes, all of them only change how text looks
//	CSI c, > c, 5n, 6n, $p, ?u        queries with an answer of fixed form. DA3, XTVERSION, DECXCPR
//	                                  name the terminal or a unit: dropped
//	CSI h l (4), ? h l                insert mode and the private modes in the list of modes.go
//	CSI Ps SP q, ! p, ESC c           cursor shape; resets become ours, the real ones clear what the
//	                                  person had and take the margins away
//	CSI > < = u, > 4 m                keyboard protocol with one flag (disambiguate), bounded; more
//	                                  would hide the command key in sequences
//	ESC = > ( )                       keypad; ASCII, British and line drawing as G0 and G1. Leaving UTF-8,
//	                                  double-size rows and DECALN (ESC # 8) are dropped
//	OSC 0 1 2                         title: 120 visible runes, no bidirectional or hidden ones, no leading
//	                                  underscore (a terminal runs commands named in titles)
//	OSC 8                             links to http and https without user name, 2 KiB
//	OSC 4 10 11 12 with ?             asking for a colour; setting one could hide what we write
//
// Dropped, with what it did to somebody: OSC 52 reads and writes the clipboard;
// OSC 50 and 710 to 713 (fonts) were echoed back as typed text by xterm
// (CVE-2022-45063) and rxvt; OSC 777 and 99 (notifications) ran commands in
// kitty (CVE-2022-41322) and rxvt-unicode; OSC 1337 and 9 write files, run
// commands and fetch in iTerm2, ConEmu and others; OSC 7, 133 and 633 make shells
// of terminals believe in another directory or prompt; title reports (CSI 20t,
// 21t) type the title as input (CVE-2003-0063 and many later); DCS $q (DECRQSS)
// did it in xterm (CVE-2008-2383) and others, DCS + q and p in iTerm2
// (CVE-2019-9535 through tmux), DECUDK binds keys, ESC P tmux passes anything
// through a multiplexer; APC draws files in kitty and echoed their names as
// input; CSI i prints; CSI t moves, resizes and raises windows; CSI $r, $x, $v
// and others write rectangles anywhere, our row included.
//
// A sequence that is never ended costs the program at most 1 MiB of its own
// output (an OSC ends at a line feed), then text goes on.
//
// # Invariants
//
// What is printed is a function of the program's bytes, however they are cut.
// Memory is bounded, whatever the program sends. The program cannot write on
// the row that is ours, whatever the terminal thinks of the width of a
// character and of margins (see stage); when the terminal was resized by its
// owner the row is put back at once. What was pasted is never a command. A
// question is answered only by the command key and a key of the question,
// pressed after its end was on the screen.
//
// What it cannot do: keep the program from painting something that looks like
// our row on its own rows. Ours is the last row of the terminal.
//
// Only guard and app import it; it imports fault only.
package screen
