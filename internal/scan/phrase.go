package scan

import (
	"bytes"
	"fmt"
	"strings"
)

// phraseRule is a sentence that gives an agent orders: words in order, with a
// few others between them.
type phraseRule struct {
	rule   int32
	anchor int        // bytes of the first step
	steps  [][]string // the alternatives of each step; a trailing * matches any ending
	gap    int        // words between two steps, at most
}

// phraseTable: the anchor is the first step. All are heuristics and none may
// block: a text about such sentences holds them too.
var phraseTable = []struct {
	id, title  string
	severity   int
	confidence float64
	gap        int
	forms      []string
}{
	{"override", "tells the reader to ignore its instructions", High, 0.7, 4, []string{
		"ignore|ignor|disregard|forget|override|bypass|neglect previous|prior|above|earlier|preceding|former|existing|original|initial instruction*|prompt*|rule*|direction*|directive*|guideline*|command*|order*|training",
		"ignore|disregard|forget|override|bypass all|any|every instruction*|prompt*|rule*|directive*|guideline*|restriction*",
		"ignore|disregard|forget|override your system|own|safety|content instruction*|prompt*|rule*|guideline*|polic*|filter*",
		"ignoriere|vergiss|missachte alle|vorherigen|bisherigen|obigen anweisung*|instruktion*|regel*|befehl*", //nolint:misspell // German
		"ignorez|oublie|oubliez|ignore toutes|les|tes|vos instructions|consignes|directives|regles",
		"ignora|olvida|descarta todas|las|tus|anteriores instrucciones|reglas|indicaciones|ordenes",
		"ignora|dimentica tutte|le istruzioni|regole|direttive",
		"ignore|esqueca|desconsidere todas|as|suas instrucoes|regras|diretrizes",
	}},
	{"new-orders", "announces instructions of its own", Medium, 0.6, 2, []string{
		"new|updated|revised system instruction*|prompt|directive*",
		"your new|real|actual|true instruction*|task|goal|objective|mission",
		"instead follow|obey|execute these|the|my instruction*|order*|command*",
		"following instruction*|order* override|supersede|replace",
	}},
	{"addressed", "speaks to the model inside data", Medium, 0.6, 3, []string{
		"important message|instruction*|notice to|for you|ai|assistant|llm|agent*|model",
		"important message from me|admin*|system|developer*|openai|anthropic",
		"before_you can solve|complete|finish|answer|proceed|continue",
		"attention|note ai|llm|assistant|agent* assistant*|agent*|model*|must|please|you",
		"if_you are|re an|a ai|llm|language|assistant|agent*|bot|chatbot",
		"instructions|message|note for|to the|any|all ai|llm|assistant|agent*|model reading|processing|handling|summarizing",
	}},
	{"secrecy", "asks the model to hide something from its user", High, 0.7, 3, []string{
		"do_not|never|without tell|telling|inform|informing|mention|mentioning|reveal|notify|notifying|alert|alerting|disclose|disclosing user|human|owner|operator|anyone|them",
		"don't|dont tell|inform|mention|reveal|notify|alert user|human|owner|operator|anyone",
		"keep_this|keep_it secret|hidden|confidential from user|human|owner",
		"silently|secretly|covertly send|forward|upload|copy|email|transmit|exfiltrate|post|delete|execute|run",
	}},
	{"authority", "tells the reader that it has rights it was not given", High, 0.6, 5, []string{
		"you_now|you've have|hold|possess|got admin*|elevated|root|unrestricted|superuser|full privilege*",
		"you_have been granted|given admin*|elevated|root|unrestricted|superuser|full privilege*",
		"execute|run the|this|following command*|script*|code immediately",
	}},
	{"take-prompt", "tells the model to give its instructions away", High, 0.6, 3, []string{
		"reveal|print|repeat|output|display|leak|disclose|dump your|its system|initial|hidden|original prompt|instruction*",
	}},
	{"reveal-prompt", "asks for the instructions of the model", Medium, 0.6, 3, []string{
		"reveal|print|show|repeat|output|display|leak|disclose|tell|give|write your|the|its|system system|initial|hidden|secret|original|full prompt|instruction*|message|rules",
		"repeat everything|all|words|text|the above|before|verbatim",
		"what_are|what_is|what_were your system|initial|hidden|original|secret prompt|instruction*",
	}},
	{"role", "gives the model another role without limits", Medium, 0.6, 4, []string{
		"you_are|you_re|you're now|no dan|jailbroken|unrestricted|unfiltered|uncensored|longer|evil",
		"act_as|act_like|behave_as|behave_like|respond_as|pretend_to an|a|if|be|you unrestricted|unfiltered|uncensored|jailbroken|evil|dan|no",
		"enable|enter|activate|switch developer|debug|god|dan|jailbreak|admin|root|sudo|unrestricted mode",
		"do_anything now",
		"without any|ethical|moral|content|safety restriction*|limitation*|guideline*|filter*|boundaries",
	}},
	{"exfiltrate", "asks to send what is private to somewhere", High, 0.6, 3, []string{
		"send|forward|upload|post|transmit|leak|exfiltrate password*|credential*|secret*|tokens|keys|cookie*|env|ssh to|http|https|attacker*|webhook",
		"read|open|fetch id_rsa|passwd|shadow|env|credentials|ssh and|then send|include|post|upload|pass",
	}},
}

// markerTable are marks of chat templates and known carriers, which have no
// business inside data.
var markerTable = []struct {
	id, title  string
	severity   int
	confidence float64
	texts      []string
}{
	{"template", "a mark of a chat template inside data", High, 0.8, []string{
		"<|im_start|>", "<|im_end|>", "<|system|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>", "<<sys>>", "[/inst]", "<start_of_turn>", "<end_of_turn>", "<|channel|>", "<|constrain|>",
	}},
	{"tag", "a tag that dresses data up as instructions", Medium, 0.6, []string{
		"<important>", "</important>", "<information>", "<system>", "</system>", "<system_prompt>", "</system_prompt>", "<system-reminder>", "<instructions>", "</instructions>", "<user_query>", "[system message]", "[system prompt]", "[admin override]", "</tool_result>", "</tool_response>", "</function_results>", "</untrusted>",
	}},
}

func (e *Engine) addPhrases(b *builder) error {
	e.rule(Rule{"injection.quoted", "a text about such orders quotes one", Low, 0.3, false, "phrases; heuristic"})
	enter := func(p phraseRule, anchor string) {
		e.phrases = append(e.phrases, p)
		b.add(anchor, true, owner{ownPhrase, int32(len(e.phrases) - 1)}) //nolint:gosec // an index
	}
	for _, t := range phraseTable {
		rule := e.rule(Rule{"injection." + t.id, t.title, t.severity, t.confidence, false, "phrases; heuristic"})
		for _, f := range t.forms {
			var steps [][]string
			for step := range strings.FieldsSeq(f) {
				steps = append(steps, strings.Split(step, "|"))
			}
			if len(steps) < 2 {
				return fmt.Errorf("phrase %q has one step", f)
			}
			for _, first := range steps[0] {
				// The anchor is the word and the space behind it: rarer, and
				// never the head of a longer word.
				first = strings.ReplaceAll(first, "_", " ")
				enter(phraseRule{rule, len(first), steps[1:], t.gap}, first+" ")
				if strings.HasPrefix(first, "attention") || strings.HasPrefix(first, "instead") {
					enter(phraseRule{rule, len(first), steps[1:], t.gap}, first+",")
				}
			}
		}
	}
	for _, t := range markerTable {
		rule := e.rule(Rule{"injection." + t.id, t.title, t.severity, t.confidence, false, "chat templates; heuristic"})
		for _, text := range t.texts {
			enter(phraseRule{rule: rule}, text)
		}
	}
	return nil
}

// phrase reads the words behind an anchor.
func (s *Scanner) phrase(v *view, p *phraseRule, at int) {
	text := v.text
	if len(p.steps) == 0 {
		end := at + 1
		for end < len(text) && end-at < 40 && !isOneOf(text[end-1], ">]") {
			end++
		}
		s.emit(v, p.rule, at, end, "")
		return
	}
	if at > 0 && isAlnum(text[at-1]) && !escapedBefore(text, at) {
		return
	}
	i := at + p.anchor
	for _, step := range p.steps {
		found := false
		for range p.gap + 1 {
			from, to := nextWord(text, i)
			if from < 0 || !s.spend(12+4*len(step)) {
				return
			}
			i = to
			if oneOfWords(text[from:to], step) {
				found = true
				break
			}
		}
		if !found {
			return
		}
	}
	rule := p.rule
	if s.quotedExample(text, at, i) {
		rule = s.e.fixed("injection.quoted")
	}
	s.emit(v, rule, at, i, "")
}

// quotedExample reports a phrase that a text about such phrases quotes, or says
// that somebody tries.
func (s *Scanner) quotedExample(text []byte, at, end int) bool {
	if !s.spend(120) || !quoted(text, at, end) && !described(text[max(0, at-16):at]) || !s.spend(2000) {
		return false
	}
	return anyWord(text[max(0, at-200):min(len(text), end+200)], "attack", "injection", "jailbreak", "phrase", "pattern")
}

// quoted reports a quotation around a part of a text. A string of JSON is none.
func quoted(text []byte, at, end int) bool {
	open := at - 1
	for open > 2 && at-open < 120 && (!isOneOf(text[open], "\"'`") || text[open-1] != ' ') {
		open--
	}
	if open < 3 || !isOneOf(text[open], "\"'`") || text[open-1] != ' ' || text[open-2] == ':' && isOneOf(text[open-3], "\"'`\\") {
		return false
	}
	return bytes.IndexByte(text[open+1:at], text[open]) < 0 && bytes.IndexByte(text[end:min(len(text), end+200)], text[open]) >= 0
}

// described reports that what stands before an order makes it a report of one.
func described(before []byte) bool {
	return bytes.HasSuffix(before, []byte(" to ")) && anyWord(before, "attempt", "tries", "try", "trying", "designed", "aims", "trick")
}

func anyWord(text []byte, words ...string) bool {
	for _, w := range words {
		l := literal{text: w, fold: true}
		for i := range text {
			if l.at(text, i) {
				return true
			}
		}
	}
	return false
}

// nextWord gives the next word of a sentence, -1 if the sentence ends before.
func nextWord(text []byte, i int) (from, to int) {
	gone := i
	for i < len(text) && !isAlnum(text[i]) && text[i] < 0x80 {
		if text[i] == '.' || text[i] == ';' || i-gone > 8 {
			return -1, 0
		}
		i++
	}
	from = i
	for i < len(text) && (isAlnum(text[i]) || text[i] == '_' || text[i] >= 0x80) && i-from < 32 {
		i++
	}
	if i == from {
		return -1, 0
	}
	return from, i
}

func oneOfWords(w []byte, words []string) bool {
	first := lower(w[0])
	for _, x := range words {
		if x[0] != first {
			continue
		}
		l := literal{text: x, fold: true}
		if n := len(x) - 1; x[n] == '*' {
			l.text = x[:n]
		} else if len(w) != len(x) {
			continue
		}
		if l.at(w, 0) {
			return true
		}
	}
	return false
}
