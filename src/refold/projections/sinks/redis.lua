-- What the Redis sink does in one step each. KEYS[1] is the hash of a read model: table -> generation. All other keys
-- begin with the same {tag}, so that in a cluster they are in the same slot.
-- A generation's keys: <tables>:<generation>:at (+ ":" and a shard), :row:<key>, :keys (the set of all row keys).
-- A connection that breaks has a step sent again: each gives the same answer then, but for `write`, whose checkpoint has
-- moved.

local function generation(tables, table_)
    return redis.call('HGET', tables, table_)
end

local function base(tables, generation_)
    return tables .. ':' .. generation_
end

local function at(tables, generation_, shard)
    return base(tables, generation_) .. ':at' .. shard
end

-- ARGV: table, shard. Gives position, append id, fingerprint, epoch; or nothing.
local function standing(tables, table_, shard)
    local found = generation(tables, table_)
    if not found then return false end
    local kept = redis.call('HMGET', at(tables, found, shard), 'position', 'append_id', 'fingerprint', 'epoch')
    if not kept[1] then return false end
    return kept
end

local function fence(tables, table_, shard, epoch)
    local kept = standing(tables, table_, shard)
    if not kept then return false end
    if tonumber(kept[4]) < tonumber(epoch) then
        redis.call('HSET', at(tables, generation(tables, table_), shard), 'epoch', epoch)
        kept[4] = epoch
    end
    return kept
end

-- ARGV: table, new generation, then shard, fingerprint, epoch, position, append id for each checkpoint.
local function create(tables, table_, new, checkpoints)
    for index = 1, #checkpoints, 5 do
        redis.call('HSET', at(tables, new, checkpoints[index]), 'fingerprint', checkpoints[index + 1],
            'epoch', checkpoints[index + 2], 'position', checkpoints[index + 3], 'append_id', checkpoints[index + 4])
        redis.call('SADD', base(tables, new) .. ':shards', checkpoints[index])
    end
    redis.call('SADD', tables .. ':generations', new)
    redis.call('HSET', tables, table_, new)
    return 1
end

-- A part of a page that is too large for one command waits here until all parts are there. It goes by itself when its
-- writer died.
local function stage(tables, page, number, rows, seconds)
    local waiting = tables .. ':page:' .. page
    redis.call('HSET', waiting, number, rows)
    redis.call('EXPIRE', waiting, seconds)
    return 1
end

local function put(row, names, rows)
    for _, each in ipairs(cmsgpack.unpack(rows)) do
        redis.call('HSET', row .. each[1], unpack(each[2]))
        redis.call('SADD', names, each[1])
    end
end

-- 1: written. 0: the checkpoint is not there, stands elsewhere, or belongs to another epoch. `parts` of the page were
-- staged before, `rows` are the rest.
local function write(tables, table_, shard, before, after, append_id, epoch, rows, deleted, page, parts)
    local waiting = tables .. ':page:' .. page
    local kept = standing(tables, table_, shard)
    if not kept or kept[1] ~= before or kept[4] ~= epoch then
        if parts > 0 then redis.call('UNLINK', waiting) end
        return 0
    end
    if parts > 0 and redis.call('HLEN', waiting) ~= parts then
        return redis.error_reply('ERR a part of the page is gone')
    end
    local found = generation(tables, table_)
    local row, names = base(tables, found) .. ':row:', base(tables, found) .. ':keys'
    for number = 1, parts do put(row, names, redis.call('HGET', waiting, number)) end
    put(row, names, rows)
    for _, each in ipairs(cmsgpack.unpack(deleted)) do
        redis.call('UNLINK', row .. each)
        redis.call('SREM', names, each)
    end
    redis.call('HSET', at(tables, found, shard), 'position', after, 'append_id', append_id)
    if parts > 0 then redis.call('UNLINK', waiting) end
    return 1
end

-- The standing (of shards the lowest position), and the rows of the keys; or, without keys, of all, up to a number.
local function read(tables, table_, all, keys)
    local found = generation(tables, table_)
    if not found then return false end
    local lowest = false
    for _, shard in ipairs(redis.call('SMEMBERS', base(tables, found) .. ':shards')) do
        local kept = standing(tables, table_, shard)
        if kept and (not lowest or tonumber(kept[1]) < tonumber(lowest[1])) then lowest = kept end
    end
    if not lowest then return false end
    local names = base(tables, found) .. ':keys'
    if all ~= '' then
        if redis.call('SCARD', names) > tonumber(all) then return {lowest, false, found} end
        keys = redis.call('SMEMBERS', names)
    end
    local rows = {}
    for index, key in ipairs(keys) do
        rows[index] = redis.call('HGETALL', base(tables, found) .. ':row:' .. key)
    end
    return {lowest, rows, found}
end

-- `new` is the generation that `table_` had when it was asked for.
local function switch(tables, table_, place, kept, new)
    local old = generation(tables, place)
    if generation(tables, table_) ~= new then return old == new and 1 or 0 end
    redis.call('HSET', tables, place, new)
    redis.call('HDEL', tables, table_)
    if kept ~= '' then
        if old then redis.call('HSET', tables, kept, old) else redis.call('HDEL', tables, kept) end
    end
    return 1
end

-- `one` and `other` are the generations that the tables had when they were asked for.
local function exchange(tables, first, second, one, other)
    local now, before = generation(tables, first), generation(tables, second)
    if now == other and before == one then return 1 end
    if now ~= one or before ~= other then return 0 end
    redis.call('HSET', tables, first, other, second, one)
    return 1
end

-- The generations that no table points to, for whoever clears away.
local function orphans(tables)
    local pointed, found = {}, {}
    for _, each in ipairs(redis.call('HVALS', tables)) do pointed[each] = true end
    for _, each in ipairs(redis.call('SMEMBERS', tables .. ':generations')) do
        if not pointed[each] then found[#found + 1] = each end
    end
    return found
end

-- A part of an orphan's keys is unlinked; gives how many are left.
local function clear(tables, orphan, number)
    for _, each in ipairs(redis.call('HVALS', tables)) do
        if each == orphan then return 0 end
    end
    local names = base(tables, orphan) .. ':keys'
    for _, key in ipairs(redis.call('SPOP', names, number)) do
        redis.call('UNLINK', base(tables, orphan) .. ':row:' .. key)
    end
    local left = redis.call('SCARD', names)
    if left == 0 then
        for _, shard in ipairs(redis.call('SMEMBERS', base(tables, orphan) .. ':shards')) do
            redis.call('UNLINK', at(tables, orphan, shard))
        end
        redis.call('UNLINK', base(tables, orphan) .. ':shards')
        redis.call('SREM', tables .. ':generations', orphan)
    end
    return left
end

local tables, what = KEYS[1], ARGV[1]
if what == 'standing' then return standing(tables, ARGV[2], ARGV[3]) end
if what == 'fence' then return fence(tables, ARGV[2], ARGV[3], ARGV[4]) end
if what == 'create' then return create(tables, ARGV[2], ARGV[3], cmsgpack.unpack(ARGV[4])) end
if what == 'write' then
    return write(tables, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10],
        tonumber(ARGV[11]))
end
if what == 'stage' then return stage(tables, ARGV[2], ARGV[3], ARGV[4], ARGV[5]) end
if what == 'generations' then return redis.call('HMGET', tables, ARGV[2], ARGV[3]) end
if what == 'read' then return read(tables, ARGV[2], ARGV[3], cmsgpack.unpack(ARGV[4])) end
if what == 'count' then
    local found = generation(tables, ARGV[2])
    return found and redis.call('SCARD', base(tables, found) .. ':keys') or 0
end
if what == 'switch' then return switch(tables, ARGV[2], ARGV[3], ARGV[4], ARGV[5]) end
if what == 'exchange' then return exchange(tables, ARGV[2], ARGV[3], ARGV[4], ARGV[5]) end
if what == 'drop' then return redis.call('HDEL', tables, ARGV[2]) end
if what == 'orphans' then return orphans(tables) end
if what == 'clear' then return clear(tables, ARGV[2], tonumber(ARGV[3])) end
return redis.error_reply('ERR unknown step ' .. what)
