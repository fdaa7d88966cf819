package collect

// collectors lists every collector of this system.
func collectors() []collector {
	return []collector{
		{[]string{"sockets", "owners"}, sockets, false},
		{[]string{"unix"}, unixSockets, false},
		{[]string{"firewall"}, firewall, false},
		{[]string{"secrets"}, secrets, false},
		{[]string{"accounts"}, accounts, false},
		{[]string{"updates", "lists"}, updates, true},
		{[]string{"sysctl"}, sysctl, false},
		{[]string{"roots"}, roots, false},
		{[]string{"live"}, live, false},
	}
}
