-- Detach and End.
local function endings()
  -- { 12, client id, epoch, expiry, will due or false, sent up to or false }
  handlers[12] = function(op)
    local session = at_epoch(op[2], op[3])
    if not session then
      return STALE
    end
    if op[6] then
      session.head[MARK] = op[6]
    end
    leave(session, op[4], op[5])
    return DONE
  end

  -- { 13, client id, incarnation, only if expired }
  handlers[13] = function(op)
    local session = find(op[2])
    if session and session.head[ID] == op[3] then
      if op[4] == 0 or has_expired(session.head) then -- which nobody who is connected does
        finish(session)
      end
    end
    return DONE
  end
end
installers[12] = endings
installers[13] = endings
