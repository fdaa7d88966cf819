package config

// The keys of the seed documents that are known and typed but have no effect
// in this release. They are refused one by one, so that nobody believes in a
// protection that does not exist.

func later(s *spec) *spec {
	s.later = true
	return s
}

func laterTools() []field {
	return []field{
		{"web_search_max_results", later(integer("Results of a web search.", 1, 1000))},
		{"wikipedia_summary_length", later(integer("Characters of a summary.", 1, 1e6))},
		{"file_read_limit", later(integer("Characters of a file that are returned.", 1, 1e9))},
	}
}

func groupChatSpec() *spec {
	return later(group("When the assistant answers in a group.",
		field{"requireMention", boolean("Answer only when mentioned.")},
		field{"mentionPatterns", texts("Regular expressions that count as a mention.")},
		field{"historyLimit", integer("Messages of history given to the model.", 0, 10_000)}))
}

func laterSpecs() []field {
	auth := &spec{kind: sList, doc: "User name and password.", elem: nonEmpty("user name or password"), min: 2, max: 2, nullable: true}
	return []field{
		{"web", later(group("The web interface.",
			field{"host", nonEmpty("Address to listen on.")},
			field{"port", integer("Port to listen on.", 1, 65535)},
			field{"share", boolean("Publish through a tunnel.")},
			field{"auth", auth}))},
		{"inbound", later(group("Messages from people.",
			field{"allowFrom", texts("Senders that are answered.")},
			field{"groupChat", groupChatSpec()}))},
		{"groupChat", groupChatSpec()},
		{"dashboard", later(group("The dashboard.",
			field{"enabled", boolean("Whether it is served.")},
			field{"metrics_retention_days", integer("Days that metrics are kept.", 1, 36_500)},
			field{"sync_enabled", boolean("Whether it is synchronised.")},
			field{"sync_interval_minutes", integer("Minutes between synchronisations.", 1, 1e6)}))},
	}
}
