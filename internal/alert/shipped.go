package alert

import "time"

// The types of events that the watcher itself records and shipped rules read.
const (
	EventDiskLow         = "disk.low"
	EventMemoryLow       = "memory.low"
	EventReport          = "report.written"
	EventApprovalWaiting = "approval.waiting"
	EventLogDamaged      = "log.verification_failed"
	EventSinkFailed      = "alert.delivery_failed"
	EventSinkDelivered   = "alert.delivered"
	EventForgot          = "alert.forgot"
)

// The types of events of other rooms that shipped rules read.
const (
	EventAuthFailed   = "auth.failed"           // a client gave no valid key
	EventUnjudgedCall = "proxy.unjudged_result" // a result came for a call that nobody judged
)

// Shipped gives the rules that are in force unless the operator switches them
// off.
func Shipped() []Rule {
	return []Rule{
		{
			Name: "dangerous", Alert: "dangerous", By: []string{"agent", "type"}, Severity: High,
			Title: "something dangerous was seen at agent {agent}: {type}",
		},
		{
			Name: "denials", Event: "*.blocked,LLM_call_blocked,MCP_tool_call_blocked", Count: 5, Within: 10 * time.Minute, By: []string{"agent"}, Severity: High,
			Title: "agent {agent} was denied {count} times within ten minutes",
		},
		{
			Name: "report", Event: EventReport, Min: map[string]float64{"level": 4}, By: []string{"file"}, Severity: High,
			Title: "a security report of level {level} was written: {file}",
		},
		{
			Name: "disk", Event: EventDiskLow, Severity: Critical, Cooldown: time.Hour,
			Title: "the disk of the state directory runs full: {free_mib} MiB ({free_percent} %) are left; without room nothing can be recorded and every action is refused",
		},
		{
			Name: "memory", Event: EventMemoryLow, Severity: High, Cooldown: time.Hour,
			Title: "the machine's memory runs out: {free_mib} MiB ({free_percent} %) are left",
		},
		{
			Name: "unjudged", Event: EventUnjudgedCall, By: []string{"agent"}, Severity: High,
			Title: "agent {agent} returned a result of a tool call that was never judged",
		},
		{
			Name: "approval", Event: EventApprovalWaiting, By: []string{"ask"}, Severity: Medium,
			Title: "agent {agent} has waited for an answer to {ask} for more than {minutes} minutes",
		},
		{
			Name: "log", Event: EventLogDamaged, Severity: Critical,
			Title: "the log does not verify: somebody or something changed what was recorded",
		},
		{
			Name: "authentication", Event: EventAuthFailed, Count: 5, Within: 5 * time.Minute, Severity: High, Cooldown: 5 * time.Minute,
			Title: "{count} attempts without a valid key within five minutes",
		},
		{
			Name: "logins", Event: "user_authentication", Level: "warning", Count: 5, Within: 5 * time.Minute, By: []string{"source"}, Severity: Medium,
			Cooldown: 5 * time.Minute, Title: "{count} failed logins within five minutes at {source}",
		},
		{
			Name: "sink", Event: EventSinkFailed, By: []string{"sink"}, Severity: High,
			Title: "alerts do not reach the sink {sink}",
		},
	}
}
