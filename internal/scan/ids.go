package scan

// idRule is a personal number that counts only behind a word for it.
type idRule struct {
	rule  int32
	valid func(digits []byte) bool
	upper bool // capital letters belong to it
}

// idTable: words, form and check per kind.
var idTable = []struct {
	rule  Rule
	words []string
	upper bool
	valid func([]byte) bool
}{
	{
		Rule{"pii.phone", "", Low, 0.6, false, "ITU E.164"},
		[]string{"phone", "telephone", "mobile", "tel:", "tel.", "call me at", "call us", "whatsapp", "fax:", "cell:", "number is", "sms to", "text me"},
		false,
		func(d []byte) bool { return len(d) >= 8 && len(d) <= 15 },
	},
	{Rule{"pii.us-ssn", "", High, 0.7, false, "SSA"}, []string{"ssn", "social security"}, false, func(d []byte) bool {
		return len(d) == 9 && d[0] != '9' && string(d[:3]) != "000" && string(d[:3]) != "666"
	}},
	{Rule{"pii.br-cpf", "Brazilian taxpayer number", High, 0.95, true, "Receita Federal: two check digits mod 11"}, []string{"cpf"}, false, cpf},
	{Rule{"pii.pl-pesel", "Polish personal number", High, 0.95, true, "PESEL: weights 1379, mod 10"}, []string{"pesel"}, false, pesel},
	{Rule{"pii.nl-bsn", "Dutch citizen number", High, 0.95, true, "BSN: eleven test"}, []string{"bsn", "burgerservicenummer"}, false, bsn},
	{Rule{"pii.gb-nhs", "British health service number", High, 0.95, true, "NHS: mod 11"}, []string{"nhs"}, false, nhs},
	{Rule{"pii.fr-nir", "French social security number", High, 0.97, true, "NIR: key of mod 97"}, []string{"nir", "insee", "securite sociale", "s\u00e9curit\u00e9 sociale"}, false, nir},
	{Rule{"pii.es-dni", "Spanish identity number", High, 0.95, true, "DNI and NIE: letter of mod 23"}, []string{"dni", "nie:", "nif"}, true, dni},
	{Rule{"pii.cn-id", "Chinese resident identity number", High, 0.97, true, "GB 11643: ISO 7064 mod 11-2"}, []string{"\u8eab\u4efd\u8bc1", "resident identity", "id card", "id number", "id no"}, true, cnID},
	{Rule{"pii.in-aadhaar", "Indian identity number", High, 0.95, true, "UIDAI: Verhoeff"}, []string{"aadhaar", "aadhar", "uidai"}, false, func(d []byte) bool { return len(d) == 12 && d[0] > '1' && verhoeff(d) }},
	{Rule{"pii.de-tax", "German tax number", High, 0.95, true, "IdNr: ISO 7064 mod 11,10"}, []string{"steuer-id", "steueridentifikationsnummer", "idnr", "steuer id", "tin:"}, false, func(d []byte) bool { return len(d) == 11 && d[0] != '0' && mod1110(d) }},
	{Rule{"pii.ca-sin", "Canadian social insurance number", High, 0.95, true, "SIN: Luhn"}, []string{"sin:", "social insurance"}, false, func(d []byte) bool { return len(d) == 9 && d[0] != '0' && d[0] != '8' && luhn(d) }},
	{Rule{"pii.se-pnr", "Swedish personal number", High, 0.95, true, "Luhn over ten digits"}, []string{"personnummer"}, false, func(d []byte) bool { return len(d) == 10 && luhn(d) || len(d) == 12 && luhn(d[2:]) }},
	{Rule{"pii.it-cf", "Italian tax code", High, 0.97, true, "codice fiscale: check letter"}, []string{"codice fiscale", "cod. fisc", "c.f."}, true, codiceFiscale},
	{Rule{"pii.au-tfn", "Australian tax file number", High, 0.95, true, "TFN: weighted mod 11"}, []string{"tfn", "tax file"}, false, tfn},
	{Rule{"pii.fi-hetu", "Finnish personal identity code", High, 0.97, true, "HETU: character of mod 31"}, []string{"hetu", "henkil\u00f6tunnus"}, true, hetu},
}

func (e *Engine) addIDs(b *builder) error {
	for _, t := range idTable {
		e.ids = append(e.ids, idRule{rule: e.rule(t.rule), valid: t.valid, upper: t.upper})
		for _, w := range t.words {
			b.follow(w, true, owner{ownPrivateID, int32(len(e.ids) - 1)}, &noLetter) //nolint:gosec // an index
		}
	}
	return nil
}

// identifier looks behind a word for the number it announces.
func (s *Scanner) identifier(v *view, r *idRule, at, end int) { //nolint:gocognit // one loop over the few bytes behind a word
	text := v.text
	if at > 0 && isAlnum(text[at-1]) || end < len(text) && text[end]|0x20-'a' < 26 {
		return
	}
	var digits [24]byte
	limit := min(len(text), end+40)
	for i := end; i < limit; i++ {
		c := text[i]
		starts := c-'0' < 10 || r.upper && c-'A' < 26
		if !starts || isAlnum(text[i-1]) {
			continue
		}
		n, to, last := 0, i, i
		for ; to < len(text) && n < len(digits); to++ {
			c := text[to]
			switch {
			case c-'0' < 10, r.upper && c-'A' < 26:
				digits[n] = c
				n++
				last = to + 1
				continue
			case (c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')') && to-last < 2 && n < len(digits):
				continue
			}
			break
		}
		if !s.spend(32) {
			return
		}
		if last < len(text) && isAlnum(text[last]) {
			continue
		}
		if r.valid(digits[:n]) {
			s.emit(v, r.rule, i, last, "")
			return
		}
	}
}

func weighted(d []byte, w ...int) int {
	sum := 0
	for i, k := range w {
		sum += int(d[i]-'0') * k
	}
	return sum
}

func cpf(d []byte) bool {
	if len(d) != 11 || d[0] == d[1] && d[1] == d[2] && d[2] == d[3] && d[3] == d[9] {
		return false
	}
	a := weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	b := weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	return a == int(d[9]-'0') && b == int(d[10]-'0')
}

func pesel(d []byte) bool {
	return len(d) == 11 && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0 && string(d) != "00000000000"
}

func bsn(d []byte) bool {
	return len(d) == 9 && weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 && string(d) != "000000000"
}

func nhs(d []byte) bool {
	if len(d) != 10 || string(d) == "0000000000" {
		return false
	}
	c := (11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11
	return c != 10 && c == int(d[9]-'0')
}

func nir(d []byte) bool {
	if len(d) != 15 || d[0] != '1' && d[0] != '2' {
		return false
	}
	n := 0
	for _, c := range d[:13] {
		n = (n*10 + int(c-'0')) % 97
	}
	return 97-n == int(d[13]-'0')*10+int(d[14]-'0')
}

func dni(d []byte) bool {
	if len(d) != 9 {
		return false
	}
	n := 0
	for i, c := range d[:8] {
		if i == 0 && c >= 'X' && c <= 'Z' {
			c -= 'X' - '0'
		}
		if c-'0' > 9 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] == d[8]
}

func cnID(d []byte) bool {
	if len(d) != 18 {
		return false
	}
	for _, c := range d[:17] {
		if c-'0' > 9 {
			return false
		}
	}
	year, month, day := string(d[6:10]), string(d[10:12]), string(d[12:14])
	if year < "1880" || year > "2099" || month < "01" || month > "12" || day < "01" || day > "31" {
		return false
	}
	return "10X98765432"[weighted(d, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)%11] == d[17]
}

// The tables of Verhoeff's scheme: the dihedral group of order ten.
var (
	dihedral = [10][10]byte{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		{1, 2, 3, 4, 0, 6, 7, 8, 9, 5},
		{2, 3, 4, 0, 1, 7, 8, 9, 5, 6},
		{3, 4, 0, 1, 2, 8, 9, 5, 6, 7},
		{4, 0, 1, 2, 3, 9, 5, 6, 7, 8},
		{5, 9, 8, 7, 6, 0, 4, 3, 2, 1},
		{6, 5, 9, 8, 7, 1, 0, 4, 3, 2},
		{7, 6, 5, 9, 8, 2, 1, 0, 4, 3},
		{8, 7, 6, 5, 9, 3, 2, 1, 0, 4},
		{9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
	}
	permuted = [8][10]byte{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		{1, 5, 7, 6, 2, 8, 3, 0, 9, 4},
		{5, 8, 0, 3, 7, 9, 6, 1, 4, 2},
		{8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
		{9, 4, 5, 3, 1, 2, 6, 8, 7, 0},
		{4, 2, 8, 6, 5, 7, 3, 9, 0, 1},
		{2, 7, 9, 3, 8, 0, 6, 4, 1, 5},
		{7, 0, 4, 6, 9, 1, 3, 2, 5, 8},
	}
)

func verhoeff(d []byte) bool {
	c := byte(0)
	for i := range d {
		c = dihedral[c][permuted[i%8][d[len(d)-1-i]-'0']]
	}
	return c == 0
}

func mod1110(d []byte) bool {
	p := 10
	for _, c := range d[:len(d)-1] {
		s := (int(c-'0') + p) % 10
		if s == 0 {
			s = 10
		}
		p = s * 2 % 11
	}
	return (11-p)%10 == int(d[len(d)-1]-'0')
}

func tfn(d []byte) bool {
	return len(d) == 9 && weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0 && string(d) != "000000000"
}

func hetu(d []byte) bool {
	if len(d) != 10 && len(d) != 11 {
		return false
	}
	n, count := 0, 0
	for _, c := range d[:len(d)-1] {
		if c-'0' < 10 {
			n = n*10 + int(c-'0')
			count++
		}
	}
	return count == 9 && "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == d[len(d)-1]
}

// codiceFiscale checks shape and letter.
func codiceFiscale(d []byte) bool {
	if len(d) != 16 {
		return false
	}
	odd := [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i, c := range d[:15] {
		k := int(c - '0')
		if c >= 'A' {
			k = int(c-'A') + 10
		}
		letter := i < 6 || i == 8 || i == 11
		if letter != (c >= 'A') {
			return false
		}
		switch {
		case i%2 == 0:
			sum += odd[k]
		case k >= 10:
			sum += k - 10
		default:
			sum += k
		}
	}
	return d[15] == byte('A'+sum%26)
}
