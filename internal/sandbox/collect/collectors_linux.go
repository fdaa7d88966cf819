package collect

// collectors lists every collector of this system.
func collectors() []collector {
	return []collector{
		{[]string{"sockets", "owners"}, sockets},
		{[]string{"unix"}, unixSockets},
		{[]string{"firewall"}, firewall},
		{[]string{"secrets"}, secrets},
		{[]string{"accounts"}, accounts},
		{[]string{"updates", "lists"}, updates},
		{[]string{"sysctl"}, sysctl},
		{[]string{"roots"}, roots},
		{[]string{"live"}, live},
	}
}
