do $$ begin
    raise notice 'begun';
    perform pg_sleep(60);
exception when query_canceled then
    raise notice 'cleaned up';
end $$
