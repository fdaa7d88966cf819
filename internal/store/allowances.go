package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// maxMicros bounds a cost: nine billion dollars. Sums of a thousand of them do
// not overflow, whatever an upstream reports.
const maxMicros = record.Micros(1) << 53

func bounded(m record.Micros) record.Micros { return min(max(m, 0), maxMicros) }

// account is where money is counted: an agent's, or an allowance of a key or a
// day, which names itself with a colon.
type account string

func (a account) allowance() bool { return strings.Contains(string(a), ":") }

// The two tables have the same columns; the statements differ in nothing else.
const (
	readAccount   = `SELECT spent, reserved FROM accounts WHERE account=?`
	readAllowance = `SELECT spent, reserved FROM allowances WHERE account=?`
	holdAccount   = `INSERT INTO accounts VALUES (?1, 0, ?2) ON CONFLICT (account) DO UPDATE SET reserved = reserved + ?2`
	holdAllowance = `INSERT INTO allowances VALUES (?1, 0, ?2) ON CONFLICT (account) DO UPDATE SET reserved = reserved + ?2`
	takeAccount   = `INSERT INTO accounts VALUES (?1, ?2, 0) ON CONFLICT (account) DO UPDATE SET spent = min(spent + ?2, 1 << 53), reserved = reserved - ?3`
	takeAllowance = `INSERT INTO allowances VALUES (?1, ?2, 0) ON CONFLICT (account) DO UPDATE SET spent = min(spent + ?2, 1 << 53), reserved = reserved - ?3`
)

func (a account) read() string {
	if a.allowance() {
		return readAllowance
	}
	return readAccount
}

func (a account) hold() string {
	if a.allowance() {
		return holdAllowance
	}
	return holdAccount
}

func (a account) take() string {
	if a.allowance() {
		return takeAllowance
	}
	return takeAccount
}

// rule names the rule that a limit of the account is.
func (a account) rule() string {
	switch {
	case strings.HasPrefix(string(a), "day:"):
		return "budget.day"
	case a.allowance():
		return "budget.key"
	}
	return "budget"
}

// who tells people whose account it is.
func (a account) who() string {
	kind, rest, _ := strings.Cut(string(a), ":")
	switch {
	case !a.allowance():
		return whose(string(a))
	case kind == "key":
		return "API key " + rest
	case kind == "agent":
		return "agent " + rest
	case kind == "day":
		day, of, _ := strings.Cut(rest, ":")
		if of == "" {
			return "everybody on " + day + " (UTC)"
		}
		return account(of).who() + " on " + day + " (UTC)"
	}
	return "account " + string(a)
}

// remedy tells what helps when the account's limit is reached.
func (a account) remedy() string {
	switch a.rule() {
	case "budget.day":
		return "wait for the next day or raise the limit of a day"
	case "budget.key":
		return "make a key with a higher limit or choose a cheaper model"
	}
	return "raise spendLimitDollars or choose a cheaper model"
}

// overBudget tells who may spend what and why it is not enough.
const overBudget = "%s may spend $%.4f, spent $%.4f so far and holds $%.4f for calls under way, so %s for up to $%.4f does not fit: %s"

// fits reports whether more can be added to what was spent and reserved; it is
// written so that no sum can overflow.
func fits(more, spent, reserved, limit record.Micros) bool {
	return more <= limit && spent <= limit-more && reserved <= limit-more-spent
}

// reserves reports whether there is anything to hold or to check.
func reserves(r record.Reservation) bool {
	return r.Micros != 0 || r.Limit >= 0 || r.Total > 0 || len(r.Also) > 0
}

// affordable checks that the most the action can cost fits into its account and
// into every allowance it names.
func (t *tx) affordable(in record.Intent) error {
	r := in.Reserve
	if r.Micros < 0 {
		return fault.New("store.intend", fault.Internal, "a reservation of %s is negative", in.Action.Kind)
	}
	if r.Micros > maxMicros {
		return t.refuse(in, fault.Budget, "budget", "one %s for up to $%.0f is beyond what can be accounted for: ask for less", in.Action.Kind, r.Micros.Dollars())
	}
	if !reserves(r) {
		return nil
	}
	if err := t.fitsIn(in, account(r.Account), r.Limit); err != nil {
		return err
	}
	if r.Total > 0 {
		var spent, reserved record.Micros
		if err := t.row(`SELECT COALESCE(sum(spent), 0), COALESCE(sum(reserved), 0) FROM accounts`).Scan(&spent, &reserved); err != nil {
			return err
		}
		if !fits(r.Micros, spent, reserved, r.Total) {
			return t.refuse(in, fault.Budget, "budget.total", overBudget, "all agents together", r.Total.Dollars(), spent.Dollars(), reserved.Dollars(),
				in.Action.Kind, r.Micros.Dollars(), "raise the limit of all agents together or choose a cheaper model")
		}
	}
	seen := map[string]bool{r.Account: true} // a sum over one account twice would not be seen
	for _, also := range r.Also {
		if !account(also.Account).allowance() || seen[also.Account] {
			return fault.New("store.intend", fault.Internal, "an allowance of %s is named twice or like an agent's account", in.Action.Kind)
		}
		seen[also.Account] = true
		if err := t.fitsIn(in, account(also.Account), also.Limit); err != nil {
			return err
		}
	}
	return nil
}

// fitsIn checks an intent's reservation against the limit of one account.
func (t *tx) fitsIn(in record.Intent, a account, limit record.Micros) error {
	if limit < 0 {
		return nil
	}
	more := in.Reserve.Micros
	var spent, reserved record.Micros
	if err := t.row(a.read(), string(a)).Scan(&spent, &reserved); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if !fits(more, spent, reserved, limit) {
		return t.refuse(in, fault.Budget, a.rule(), overBudget, a.who(), limit.Dollars(), spent.Dollars(), reserved.Dollars(),
			in.Action.Kind, more.Dollars(), a.remedy())
	}
	return nil
}

// hold holds a reservation that was found affordable, in all its accounts.
func (t *tx) hold(r record.Reservation) error {
	if !reserves(r) {
		return nil
	}
	if _, err := t.exec(account(r.Account).hold(), r.Account, int64(r.Micros)); err != nil {
		return err
	}
	for _, also := range r.Also {
		if _, err := t.exec(account(also.Account).hold(), also.Account, int64(r.Micros)); err != nil {
			return err
		}
	}
	return nil
}

// alsoNames is what an intent remembers of its allowances: a JSON list, or
// nothing.
func alsoNames(also []record.Allowance) string {
	if len(also) == 0 {
		return ""
	}
	names := make([]string, len(also))
	for i, a := range also {
		names[i] = valid(a.Account)
	}
	b, _ := json.Marshal(names) // strings always have JSON
	return string(b)
}

// accounts gives the names of all that an intent's reservation is held in.
func (i *openIntent) accounts() ([]string, error) {
	names := []string{i.acct}
	if i.also == "" {
		return names, nil
	}
	var also []string
	if err := json.Unmarshal([]byte(i.also), &also); err != nil {
		return nil, fault.New("store.settle", fault.Corrupt, "the accounts of intent %d cannot be read: restore a backup", i.id)
	}
	return append(names, also...), nil
}

// charge spends cost and lets go of held, in every account.
func (t *tx) charge(accounts []string, cost, held record.Micros) error {
	if cost == 0 && held == 0 {
		return nil
	}
	for _, name := range accounts {
		if _, err := t.exec(account(name).take(), name, int64(cost), int64(held)); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
	}
	return nil
}

// Budget gives what an account or allowance has spent and holds for calls under
// way.
func (s *Store) Budget(ctx context.Context, name string) (spent, reserved record.Micros, err error) {
	err = s.each(ctx, "store.budget", account(name).read(), []any{name},
		func(scan func(...any) error) error { return scan(&spent, &reserved) })
	return spent, reserved, err
}
