// Numbers for the keys of the lattice's vertices.
//
// mean_field.cpp includes this once for each set of instructions, in a namespace of its own.

// Numbers of keys, from 1 in the order in which they are added. Number 0 is none's.
template <class Key>
class Numbering {
public:
    std::size_t size() const { return keys_.size(); }       // number 0 included
    Key key(std::size_t number) const { return keys_[number]; }

    // The number of a key if it lies in one of its first two slots, as nearly all do; 0 otherwise. Without a branch,
    // so that the processor looks for many keys at a time.
    ICD_INLINE std::uint32_t peek(Key key) const {
        const std::size_t s = hash(key);
        const std::uint32_t first = slots_[s], second = slots_[s + 1];
        return (keys_[first] == key ? first : 0) | (keys_[second] == key ? second : 0);
    }

    // Number of a key; 0 when it does not exist.
    std::uint32_t find(Key key) const {
        for (std::size_t s = hash(key);; s = next(s))
            if (slots_[s] == 0 || keys_[slots_[s]] == key) return slots_[s];
    }

    std::uint32_t find_or_add(Key key) {
        if (const std::uint32_t found = find(key)) return found;
        keys_.push_back(key);
        if (kRoom * keys_.size() > slots_.size()) {
            --shift_;
            slots_.assign((std::size_t{1} << (64 - shift_)) + 1, 0);
            for (std::size_t number = 1; number < keys_.size(); ++number) enter(number);
        } else {
            enter(keys_.size() - 1);
        }
        return static_cast<std::uint32_t>(keys_.size() - 1);
    }

private:
    static constexpr int kRoom = 8;         // slots a key: with fewer, many are not where they are looked for first
    __extension__ typedef unsigned __int128 Longest;

    std::size_t hash(Key key) const {
        const auto high = static_cast<std::uint64_t>(static_cast<Longest>(key) >> 64);
        const std::uint64_t mixed =
            (static_cast<std::uint64_t>(key) ^ high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
        return (mixed ^ mixed << 23) >> shift_;
    }
    std::size_t next(std::size_t s) const { return s + 1 < slots_.size() ? s + 1 : 0; }

    void enter(std::size_t number) {
        std::size_t s = hash(keys_[number]);
        while (slots_[s] != 0) s = next(s);
        slots_[s] = static_cast<std::uint32_t>(number);
    }

    std::vector<Key> keys_ = std::vector<Key>(1);
    int shift_ = 64 - 12;
    std::vector<std::uint32_t> slots_ = std::vector<std::uint32_t>((1 << 12) + 1);      // one more, for `peek`
};
