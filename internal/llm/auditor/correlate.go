package auditor

// Correlation says that findings together are worse than each alone.
type Correlation struct {
	ID    string
	All   [][]string // every group must hold a finding; inside a group any one is enough
	Raise string     // the finding whose severity rises
	To    Severity
	Text  string // one sentence for the report
}

// Correlations lists the rules, the gravest first.
func Correlations() []Correlation {
	return []Correlation{
		{
			"C-01",
			[][]string{{"LOG-04"}, {"SSH-02", "SSH-01"}},
			"LOG-04", Critical,
			"a source that had failed many times was let in while passwords or root logins are accepted over SSH: treat the account as taken over",
		},
		{
			"C-02",
			[][]string{{"ACC-02"}, {"SSH-03"}},
			"ACC-02", Critical,
			"an account without a password exists and SSH accepts empty passwords: anybody can log in",
		},
		{
			"C-03",
			[][]string{{"DOC-03", "PORT-04"}, {"FW-01", "FW-02"}},
			"PORT-04", Critical,
			"the container engine's API is on the network and no firewall stands before it: anybody who reaches it is root",
		},
		{
			"C-04",
			[][]string{{"SSH-01"}, {"LOG-02"}},
			"SSH-01", High,
			"root may log in over SSH while sources are guessing passwords",
		},
		{
			"C-05",
			[][]string{{"SSH-02"}, {"LOG-02"}},
			"SSH-02", High,
			"passwords are accepted over SSH while sources are guessing them",
		},
		{
			"C-06",
			[][]string{{"PORT-02"}, {"FW-01", "FW-02"}},
			"PORT-02", Critical,
			"a database or cache listens on every address and no firewall stands before it",
		},
		{
			"C-07",
			[][]string{{"SUDO-01"}, {"LOG-02"}, {"SSH-02"}},
			"SUDO-01", High,
			"one guessed password would be enough for root: sudo asks for none",
		},
		{
			"C-08",
			[][]string{{"WEB-11"}, {"WEB-02", "WEB-08"}},
			"WEB-11", Critical,
			"files that must stay private lie below a web root whose directories are listed to visitors",
		},
		{
			"C-09",
			[][]string{{"DOC-01"}, {"ACC-03", "ACC-02", "SSH-02"}},
			"DOC-01", Critical,
			"any local account can become root through the container socket, and accounts are easy to get",
		},
		{
			"C-10",
			[][]string{{"SEC-01", "SEC-02"}, {"LOG-04"}},
			"SEC-02", High,
			"keys lie in files of a host where an account was probably taken over: rotate them",
		},
	}
}

// scored is a finding with its number and its final severity.
type scored struct {
	check    *Check
	severity Severity
}

// assess gives the patrol's findings, gravest first and then in catalogue order,
// and the correlations that fired.
func (e *Engine) assess(s *state, p *patrol) (found []scored, fired []Correlation) {
	sev := map[string]Severity{}
	for i := range e.checks {
		id := e.checks[i].ID
		if r := e.outcome(s, p, id); r.status == Finding {
			sev[id] = r.severity
		}
	}
	for _, c := range Correlations() {
		if !holds(c, sev) {
			continue
		}
		fired = append(fired, c)
		if old, ok := sev[c.Raise]; ok {
			sev[c.Raise] = max(old, c.To)
		}
	}
	for level := Critical; level >= Info; level-- {
		for i := range e.checks {
			if c := &e.checks[i]; sev[c.ID] == level {
				found = append(found, scored{c, level})
			}
		}
	}
	return found, fired
}

func holds(c Correlation, sev map[string]Severity) bool {
	for _, group := range c.All {
		met := false
		for _, id := range group {
			met = met || sev[id] > 0
		}
		if !met {
			return false
		}
	}
	return true
}

// level is the report's warning level: the worst severity, at least 1. A
// correlation counts even when the finding it raises was not among them.
func (e *Engine) level(s *state, p *patrol) Severity {
	level := Info
	found, fired := e.assess(s, p)
	for _, f := range found {
		level = max(level, f.severity)
	}
	for _, c := range fired {
		level = max(level, c.To)
	}
	return level
}

// outcome is the result of one check in one patrol, saved or not; the zero
// record when there is none.
func (e *Engine) outcome(s *state, p *patrol, id string) record {
	for _, u := range s.unsaved {
		if u.Check.ID == id && u.patrol == p.number {
			return record{p.number, u.Status, u.Severity, u.Need}
		}
	}
	if r := s.last[id]; r.patrol == p.number && p.has(id) {
		return r
	}
	return record{}
}
