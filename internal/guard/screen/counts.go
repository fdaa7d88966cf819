package screen

// Kind says what sort of output a Filter held back or rewrote.
type Kind uint8

// The kinds, in the order of Counts.
const (
	Clipboard  Kind = iota // OSC 52: reading or writing the person's clipboard
	Command                // any other operating system command that is not allowed
	Title                  // a title that was shortened or cleaned
	Link                   // a hyperlink that is not plain http or https
	Device                 // DCS: status requests, user keys, sixel, multiplexer passthrough
	Message                // APC, PM, SOS and the title string of screen(1)
	Window                 // CSI t: moving, resizing, reporting titles and sizes
	Printer                // CSI i: media copy
	Mode                   // a mode that is not on the list
	Sequence               // any other escape or control sequence
	Control                // a C0 control that no display needs, such as ENQ
	C1                     // an 8-bit control, raw or as UTF-8
	Encoding               // bytes that are no UTF-8
	Unfinished             // a sequence that was cancelled or had no end
	kinds
)

var kindNames = [kinds]string{
	"clipboard", "command", "title", "link", "device", "message", "window", "printer",
	"mode", "sequence", "control", "c1", "encoding", "unfinished",
}

// String gives the kind's stable name, used in records.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return "unknown"
}

// Counts tells how often each Kind was held back; index it by Kind.
type Counts [kinds]uint64

// Map gives the kinds that occurred by name, for a record; nil if none did.
func (c Counts) Map() map[string]uint64 {
	var m map[string]uint64
	for k, n := range c {
		if n > 0 {
			if m == nil {
				m = map[string]uint64{}
			}
			m[kindNames[k]] = n
		}
	}
	return m
}

// Total is the sum over all kinds.
func (c Counts) Total() (n uint64) {
	for _, v := range c {
		n += v
	}
	return n
}
